"""What the service answers, a file for each subject."""
