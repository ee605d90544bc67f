// Writes what is generated: ABIs from the compiled contracts into sdk/src/abi, as const, for viem's types; addresses of
// public chains from the deployment journals into sdk/src/addresses.ts; the commands into docs/CLI.md.
// `npm run build` writes them; `npm run build -- --check` writes nothing and exits 1 when one is stale.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { renderAddresses } from "./addresses.ts";
import { artifact, compile, CONTRACTS, type ContractName } from "./artifacts.ts";

/** session-channels.ts for SessionChannels, erc3009-deposit-collector.ts for ERC3009DepositCollector. */
function fileOf(name: ContractName): string {
  return `sdk/src/abi/${name.replace(/([a-z0-9])([A-Z])/g, "$1-$2").toLowerCase()}.ts`;
}

function constantOf(name: ContractName): string {
  return `${name.replace(/^[A-Z]+(?=[A-Z0-9])|^[A-Z]/, (start) => start.toLowerCase())}Abi`;
}

function render(name: ContractName): string {
  const entries = artifact(name).abi.map((entry) => `  ${JSON.stringify(entry, withoutInternalType)},\n`);
  return (
    `// Generated from ${CONTRACTS[name]} by scripts/generate.ts (npm run build). Do not edit.\n` +
    `export const ${constantOf(name)} = [\n${entries.join("")}] as const;\n`
  );
}

const withoutInternalType = (key: string, value: unknown) => (key === "internalType" ? undefined : value);

const check = process.argv.includes("--check");
compile();
const stale: string[] = [];
for (const name of Object.keys(CONTRACTS) as ContractName[]) write(fileOf(name), render(name));
write("sdk/src/addresses.ts", renderAddresses());
// Commands import ABIs and addresses, so they are read when those are there.
const [{ COMMANDS }, { markdown }] = await Promise.all([import("../sdk/src/cli/table.ts"), import("../sdk/src/cli/help.ts")]);
write("docs/CLI.md", markdown(COMMANDS));
for (const file of stale) process.stderr.write(`${check ? "stale" : "wrote"} ${file}\n`);
if (check && stale.length > 0) process.exitCode = 1;

function write(file: string, text: string): void {
  const path = fileURLToPath(new URL(`../${file}`, import.meta.url));
  if (text === read(path)) return;
  stale.push(file);
  if (check) return;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
