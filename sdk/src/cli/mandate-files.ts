// Mandates in the agent's storage: one file each, with its lineage and payees; what an agent, a guard or a sub-agent is given.
import { mkdir, open, readdir, readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { isHex, size, type Address, type Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { checkLineage, idsOf, parseLineage, toWireLineage, type Lineage } from "../lineage.ts";
import { mandateRegistryDomain } from "../mandate.ts";
import type { RegistryAt } from "../mandates.ts";
import { CliError, usageError } from "./exit.ts";

export type MandateFile = { at: RegistryAt; id: Hex; ids: Hex[]; lineage: Lineage; path: string };

const folderOf = (stateDir: string): string => join(stateDir, "mandates");

/** Never overwrites: a mandate's file is its own only copy of the payees. */
export async function writeMandate(stateDir: string, at: RegistryAt, lineage: Lineage, out?: string): Promise<MandateFile> {
  const ids = idsOf(mandateRegistryDomain(at.chainId, at.registry), lineage);
  const path = out === undefined ? join(folderOf(stateDir), `${ids[0]}.json`) : resolve(out);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, "wx", 0o600).catch((cause: NodeJS.ErrnoException) => {
    throw new CliError({ code: "mandate_unwritable", exit: "usage", detail: `${path} cannot be written (${cause.code}).`, cause });
  });
  const json = { version: 1, chainId: at.chainId, registry: at.registry, mandateId: ids[0], lineage: toWireLineage(lineage) };
  await file.writeFile(`${JSON.stringify(json, null, 2)}\n`);
  await file.sync();
  await file.close();
  return { at, id: ids[0]!, ids, lineage, path };
}

/** By its id, the beginning of it, or the file's path. @throws CliError `mandate_unknown`, `mandate_file_invalid`. */
export async function findMandate(stateDir: string, name: string): Promise<MandateFile> {
  if (!/^0x[0-9a-fA-F]{4,64}$/.test(name)) return readMandateFile(resolve(name));
  const found = (await listMandates(stateDir)).filter(({ id }) => id.startsWith(name.toLowerCase()));
  if (found.length === 1) return found[0]!;
  if (found.length > 1) throw usageError(`${found.length} mandates begin with ${name}.`, "Give more of the id.", "mandate_ambiguous");
  throw new CliError({ code: "mandate_unknown", exit: "usage", detail: `There is no mandate ${name} in ${folderOf(stateDir)}.`, hint: "tallystick mandate list shows them; a path to a mandate's file does too." });
}

export async function listMandates(stateDir: string): Promise<MandateFile[]> {
  const names = await readdir(folderOf(stateDir)).catch(() => []);
  return Promise.all(names.filter((name) => name.endsWith(".json")).sort().map((name) => readMandateFile(join(folderOf(stateDir), name))));
}

export async function readMandateFile(path: string): Promise<MandateFile> {
  const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw usageError(`${path} cannot be read (${cause.code}).`, undefined, "mandate_unknown");
  });
  try {
    const { chainId, registry, lineage: wire } = JSON.parse(text) as { chainId: number; registry: Address; lineage: unknown };
    const lineage = parseLineage(wire);
    const domain = mandateRegistryDomain(chainId, registry);
    checkLineage(domain, lineage);
    const ids = idsOf(domain, lineage);
    return { at: { chainId, registry }, id: ids[0]!, ids, lineage, path };
  } catch (cause) {
    const why = cause instanceof TallystickError ? cause.message : "it is no mandate's JSON";
    throw new CliError({ code: "mandate_file_invalid", exit: "usage", detail: `${path} cannot be used: ${why}`, cause });
  }
}

export const isId = (text: string): text is Hex => isHex(text) && size(text) === 32;
