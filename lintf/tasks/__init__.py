"""What is drawn: prompts and their laws."""
