"""One file per provider: ``fetch(window)`` returns tidy rows. No storage, no clock of its own."""
