"""What `python -m proactor_trio` does: the main job, which shows that everything works here, and the doctor."""
