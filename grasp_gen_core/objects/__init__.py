"""Objects: mesh and cloud files, sampling, signed distance, virtual camera, procedural shapes."""
