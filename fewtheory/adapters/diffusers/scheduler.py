"""placeholder"""

PlanScheduler = scheduler = None
