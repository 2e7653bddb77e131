"""What pages share: claims with their sources and tolerances, the check of their parameters,
figures, figures to play with."""
