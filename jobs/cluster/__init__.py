"""Ray for a job: joined or started, supplied with our packages, and watched until it works."""
