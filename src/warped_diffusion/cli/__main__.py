from warped_diffusion.cli import main

main()
