"""Records complete trainings of many configurations, with pixel counts of every image, for replays of searches."""
