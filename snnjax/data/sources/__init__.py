"""Files of data sets as others give them out: archives, folders, recordings."""
