"""Keeping an installation: backup and restore, retention, the crontab, the inbox, exports."""
