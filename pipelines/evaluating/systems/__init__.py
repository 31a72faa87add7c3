"""What an evaluation compares, a file each behind one interface (`base.System`)."""
