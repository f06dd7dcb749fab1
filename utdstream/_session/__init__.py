"""A session of any kind and its media room: what calls, audio rooms and live streams share."""
