"""Readers of data sets as they are distributed: archives, folders, event recordings."""
