"""What pages share: claims, the check of their parameters, figures, figures to play with."""
