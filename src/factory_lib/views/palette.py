"""Colours of every chart, distinct under the common colour-vision deficiencies (Okabe and Ito)."""

BLUE = "#0072b2"
ORANGE = "#e69f00"
GREEN = "#009e73"
RED = "#d55e00"
PURPLE = "#cc79a7"
SKY = "#56b4e9"
GREY = "#7a858f"
INK = "#1d2329"
SOFT = "#5d6873"
LINE = "#d9dee3"

LEVEL = {"ok": "#1d7a3e", "warn": "#a15c00", "fail": "#b3261e"}
SEVERITY = {"minor": SKY, "moderate": ORANGE, "critical": RED}
STATUS = {"present": GREEN, "late": SKY, "quarantined": PURPLE, "missing": RED, "unfillable": GREY}
RECOMMENDATION = {"Optimal": GREEN, "Moderate": SKY, "Reduced": ORANGE, "Halt Production": RED}
