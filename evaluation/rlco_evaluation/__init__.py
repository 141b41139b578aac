"""Studies, schedules, trial ledgers, statistics and reports: one ruler for robot and sim."""
