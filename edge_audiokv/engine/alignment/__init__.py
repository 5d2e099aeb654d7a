"""Where in a sound each word of a text was said: one place for subtitles, guards, calibration."""
