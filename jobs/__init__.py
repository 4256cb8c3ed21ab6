"""One file per step of the loop; sorted, they tell the story."""
