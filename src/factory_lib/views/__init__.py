"""What notebooks and pages show: verdict lines, tables, charts."""
