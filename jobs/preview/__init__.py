"""Package of `nightlift preview`, which shows photos and videos before and after, in the browser."""
