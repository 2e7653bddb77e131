"""The trainings that several pages share, one file a paper."""
