"""What two models differ in."""
