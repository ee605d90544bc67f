// Signed policies in a folder, as the local guard takes them in: each checked, newer versions only, looked at again when the folder changes.
import { mkdir, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isAddressEqual, recoverTypedDataAddress, type Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { compilePolicy, type CompiledPolicy } from "../firewall/evaluate.ts";
import { parsePolicy, policyHashOf, policyTypedData, type Policy } from "../firewall/policy.ts";
import type { JournalStore } from "../guard/journal-node.ts";

export type SignedPolicy = { policy: Policy; signature: Hex };

const LOOK_EVERY_MS = 500;

/** @throws TallystickError `policy_malformed`, `policy_signature_invalid`. */
export async function readSignedPolicy(path: string, chainId: number): Promise<SignedPolicy> {
  const { policy: raw, signature } = JSON.parse(await readFile(path, "utf8")) as { policy: unknown; signature: Hex };
  const policy = parsePolicy(raw);
  const signer = await recoverTypedDataAddress({ ...policyTypedData(policy, chainId), signature }).catch(() => undefined);
  if (signer !== undefined && isAddressEqual(signer, policy.owner)) return { policy, signature };
  throw new TallystickError({ code: "policy_signature_invalid", status: 403, retry: "never", field: "signature", detail: `The policy in ${path} is not signed by its owner ${policy.owner}.` });
}

/** Replaces the owner's policy of that name. */
export async function writeSignedPolicy(folder: string, { policy, signature }: SignedPolicy): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${policy.owner}-${policy.name}.json`);
  await writeFile(`${path}.next`, `${JSON.stringify({ policy, signature }, null, 2)}\n`, { mode: 0o600, flush: true });
  await rename(`${path}.next`, path);
  return path;
}

export class PolicyFolder {
  readonly #folder: string;
  readonly #chainId: number;
  readonly #store: JournalStore;
  #current: CompiledPolicy[] = [];
  #marks = "";
  #lookedAtMs = 0;

  constructor(folder: string, chainId: number, store: JournalStore) {
    this.#folder = folder;
    this.#chainId = chainId;
    this.#store = store;
  }

  /** Those in force. @throws TallystickError: with one that cannot be used nothing is signed, since it may have been the one that forbids. */
  async current(): Promise<readonly CompiledPolicy[]> {
    if (Date.now() - this.#lookedAtMs >= LOOK_EVERY_MS) await this.load();
    return this.#current;
  }

  async load(): Promise<void> {
    const names = (await readdir(this.#folder).catch(() => [])).filter((name) => name.endsWith(".json")).sort();
    const marks = await Promise.all(names.map(async (name) => `${name} ${(await stat(join(this.#folder, name))).mtimeMs}`));
    if (this.#lookedAtMs === 0 || marks.join() !== this.#marks) {
      const policies = await Promise.all(names.map((name) => readSignedPolicy(join(this.#folder, name), this.#chainId)));
      for (const { policy } of policies) await this.#store.applyPolicy({ owner: policy.owner, name: policy.name, version: policy.version, policyHash: policyHashOf(policy) });
      this.#store.requirePolicies(policies.map(({ policy }) => policy));
      this.#current = policies.map(({ policy }) => compilePolicy(policy));
      this.#marks = marks.join();
    }
    this.#lookedAtMs = Date.now();
  }
}
