"""What public functions are given: arrays of any library, names, models; checked in one place."""
