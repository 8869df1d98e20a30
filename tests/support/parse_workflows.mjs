// Parse workflows and action.yml files with GitHub's own parser and print one line for each problem it finds.
// Usage: node parse_workflows.mjs FOLDER FILE...; FOLDER holds node_modules; a file named action.yml is an action.
import { readFileSync } from "node:fs";
import { register } from "node:module";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";

// The package imports its schemas the way bundlers allow; Node insists on being told that they are JSON.
const hooks = `export const load = (url, context, next) =>
  next(url, url.endsWith(".json") ? { ...context, importAttributes: { type: "json" } } : context);`;
register("data:text/javascript," + encodeURIComponent(hooks));

const [folder, ...files] = process.argv.slice(2);
const dist = pathToFileURL(`${folder}/node_modules/@actions/workflow-parser/dist/`);
const { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } = await import(new URL("index.js", dist));
const { parseAction } = await import(new URL("actions/action-parser.js", dist));

for (const name of files) {
  const isAction = basename(name) === "action.yml";
  const file = { name, content: readFileSync(name, "utf8") };
  const parsed = (isAction ? parseAction : parseWorkflow)(file, new NoOperationTraceWriter());
  // Converting a workflow finds what its schema cannot say, and adds it to the same list.
  if (parsed.value && !isAction) await convertWorkflowTemplate(parsed.context, parsed.value, undefined, { errorPolicy: 1 });
  for (const problem of parsed.context.errors.getErrors()) console.log(problem.message);
}
