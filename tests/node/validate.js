// Reads a JSON list of statements, writes a list with the warnings about each.
const validate = require('@learninglocker/xapi-validation').default;

const statements = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const said = statements.map((statement) =>
  validate(statement).map((warning) => `${warning.constructor.name} at ${warning.path.join('.')}`)
);
process.stdout.write(JSON.stringify(said));
