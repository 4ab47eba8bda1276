"""What users fill, and sending consumes."""
