"""What is measured of prompts and models, and classical methods."""
