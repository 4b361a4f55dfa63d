"""What of a photo is seen, by which its light is judged: not what is hidden, nor plain borders, nor empty corners."""
