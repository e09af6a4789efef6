# Thin aliases: the commands are in ./run, which needs no make.
.PHONY: demo smoke test docs bench chaos screenshots
demo: ; ./run demo
smoke: ; ./run demo --smoke
test: ; ./run test
docs bench chaos screenshots: ; ./run $@
