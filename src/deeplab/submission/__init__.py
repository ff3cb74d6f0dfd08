"""What the test servers of the data sets take: archives of predictions, written and checked."""
