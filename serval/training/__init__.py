"""Teaching models: stages of a recipe, a thin trainer that goes on after any kill, objectives. Import the modules."""
