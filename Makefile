# Thin aliases: the commands are in ./run, which needs no make.
.PHONY: demo smoke test audit docs bench chaos screenshots
demo: ; ./run demo
smoke: ; ./run demo --smoke
test: ; ./run test
audit docs bench chaos screenshots: ; ./run $@

# Texts: collect them, bring each catalogue up to date, compile. Then translate what is empty in
# flask_lms/translations/*/LC_MESSAGES/flask_lms.po and run it once more.
KEYWORDS = -k gettext -k ngettext:1,2 -k many:1,2 -k N_ -k Words -k _ -k lms_t -k lms_n:1,2
CATALOGUE = -D flask_lms -d flask_lms/translations
.PHONY: messages
messages:
	mkdir -p build
	pybabel -q extract -F babel.cfg --no-default-keywords $(KEYWORDS) --no-location --sort-output -o build/flask_lms.pot .
	pybabel -q update $(CATALOGUE) -i build/flask_lms.pot --no-fuzzy-matching --ignore-obsolete -w 100
	pybabel compile $(CATALOGUE) --statistics
