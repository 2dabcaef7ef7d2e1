from serval.cli import main

main()
