"""What a run will cost before it is made: how long a step takes on so many processes, by models that are measured."""
