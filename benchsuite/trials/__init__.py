"""The stages of one trial, from the data set to the record."""
