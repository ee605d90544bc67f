// The stages of `npm test`: what runs, in which process, and what has to come first.
import { globSync } from "node:fs";
import { fileURLToPath } from "node:url";

export type Stage = {
  name: string;
  /** Arguments of a Node process. One with IPC reports its counts; one without counts as a single test by its exit code. */
  args: string[];
  reports: boolean;
  /** Runs before everything else, alone: later stages read what it writes. */
  first?: true;
};

const root = fileURLToPath(new URL("../../", import.meta.url));
const child = (name: string) => fileURLToPath(new URL(`./${name}.ts`, import.meta.url));

const hardhat = (name: string, kind: "solidity" | "mocha", files: string[] = []): Stage => ({ name, args: [child("hardhat-child"), kind, ...files], reports: true });
const mocha = (name: string, files: string[]): Stage => ({ name, args: [child("mocha-child"), ...files], reports: true });
const suite = (name: string, files = `test/${name}/**/*.test.ts`): Stage => mocha(name, globSync(files, { cwd: root }).sort());

/** A long suite as several stages that run beside each other, `name/1` to `name/parts`; asked for by its name, all of them run. */
function parts(name: string, parts: number): Stage[] {
  const files = globSync(`test/${name}/**/*.test.ts`, { cwd: root }).sort();
  return Array.from({ length: parts }, (_, part) => mocha(`${name}/${part + 1}`, files.filter((_, index) => index % parts === part)));
}

/** In the order in which they are started: the long ones early, so that no lane is left with one at the end. */
export function allStages(): Stage[] {
  return [
    { name: "generated", args: ["scripts/generate.ts", "--check"], reports: false, first: true },
    { name: "compile", args: [child("hardhat-child"), "compile"], reports: true, first: true },
    hardhat("solidity", "solidity"),
    suite("e2e"),
    ...parts("relayer", 3),
    ...parts("cli", 2),
    suite("chaos"),
    suite("ignition"),
    hardhat("contracts", "mocha"),
    suite("attacks"),
    suite("matrix", "test/interop/matrix/*.test.ts"),
    suite("interop", "test/interop/*.test.ts"),
    suite("indexer"),
    suite("local"),
    suite("bench"),
    { name: "typecheck", args: ["node_modules/typescript/bin/tsc", "--noEmit"], reports: false },
    suite("sdk"),
    suite("package"),
    suite("browser"),
    mocha("tidy", ["test/tidy.test.ts"]),
  ];
}

/** What `npm test -- <names>` asks for: stages by name, files by path. Undefined when one is neither. */
export function chosenStages(names: string[]): Stage[] | undefined {
  const all = allStages();
  if (names.length === 0) return all;
  const chosen = names.flatMap((name): (Stage | undefined)[] => {
    const named = all.filter((stage) => stage.name === name || stage.name.startsWith(`${name}/`));
    return named.length > 0 ? named : [fileStage(name)];
  });
  if (chosen.some((stage) => stage === undefined)) return undefined;
  // Contract tests and the local world need what the compiler makes.
  const compile = all.filter((stage) => stage.name === "compile" && !names.includes("compile"));
  return [...compile, ...(chosen as Stage[])];
}

function fileStage(path: string): Stage | undefined {
  const [file] = globSync(path.replace(/^\.\//, ""), { cwd: root });
  if (file === undefined) return undefined;
  if (file.endsWith(".t.sol")) return hardhat(file, "solidity", [file]);
  if (file.startsWith("test/contracts/")) return hardhat(file, "mocha", [file]);
  return file.endsWith(".test.ts") ? mocha(file, [file]) : undefined;
}
