"""What is measured of prompts and models, and the classical methods beside them."""
