"""What the platform does, independent of who asks: meaning, order of steps, units of work."""
