"""What pages share: claims, rules for parameters, figures, controls."""
