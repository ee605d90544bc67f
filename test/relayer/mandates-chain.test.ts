// Mandates and what is outside of the ledger: wallets that sign, a node that is away, restarts, other processes.
import { expect } from "chai";
import { encodeFunctionData, numberToHex, type Hex } from "viem";
import { boundMandate } from "../../relayer/src/capabilities/mandates/service.ts";
import { createMandateFollower } from "../../relayer/src/capabilities/mandates/follower.ts";
import { findLineage } from "../../relayer/src/capabilities/mandates/store.ts";
import { mandateRegistryAbi } from "../../sdk/src/abi/mandate-registry.ts";
import { LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { startRpcProxy, type RpcProxy } from "../support/rpc-proxy.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { asking, decided, granted, newKey, openChannels, paidCall, wireGrant, type Granted } from "../support/mandated.ts";
import { idOfMandate, mandateOf } from "../support/signed-mandates.ts";

const PRICE = 1_000n;
/** isValidSignature that answers with EIP-1271's word to everything, and one that answers with another. */
const YES: Hex = "0x631626ba7e60e01b60005260206000f3";
const NO: Hex = "0x63ffffffff60e01b60005260206000f3";

describe("mandates and the chain", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let proxy: RpcProxy;
  before(async () => {
    world = await startTestWorld({ rpcUrl: async (chainUrl) => (proxy = await startRpcProxy(chainUrl)).url });
  });
  after(async () => {
    await world.stop();
    await proxy.stop();
  });

  const revokeOnChain = async ({ principal, mandate }: Granted) => {
    await rpc(world.chain.url, "hardhat_setBalance", [principal.address, numberToHex(10n ** 18n)]);
    const data = encodeFunctionData({ abi: mandateRegistryAbi, functionName: "revoke", args: [[mandate]] });
    const nonce = await world.chain.client.getTransactionCount({ address: principal.address });
    const serializedTransaction = await principal.signTransaction({ type: "eip1559", chainId: 84532, to: LOCAL_MANDATE_REGISTRY, data, nonce, gas: 1_000_000n, maxFeePerGas: 10_000_000_000n, maxPriorityFeePerGas: 1n });
    const hash = await world.chain.client.sendRawTransaction({ serializedTransaction });
    await world.chain.client.waitForTransactionReceipt({ hash });
  };
  const until = async (what: string, done: () => Promise<boolean>) => {
    for (const deadline = Date.now() + 30_000; !(await done()); await new Promise((next) => setTimeout(next, 20))) if (Date.now() > deadline) throw new Error(`${what} did not happen`);
  };

  it("a contract wallet as principal signs by ERC-1271; one that says no, and no wallet at all, sign nothing", async () => {
    const agent = newKey();
    const ask = await asking(world.url, agent);
    const wallets = { yes: newKey().address, no: newKey().address, none: newKey().address };
    await world.chain.client.setCode({ address: wallets.yes, bytecode: YES });
    await world.chain.client.setCode({ address: wallets.no, bytecode: NO });
    const answers: [string, number, string | undefined][] = [];
    for (const [name, wallet] of Object.entries(wallets)) {
      const { status, body } = await ask("POST", "", { lineage: [await wireGrant(newKey(), mandateOf(wallet, agent.address))] });
      answers.push([name, status, body.code]);
    }
    expect(answers).deep.equal([["yes", 201, undefined], ["no", 403, "mandate_signature_invalid"], ["none", 403, "mandate_signature_invalid"]]);
  });

  it("a node that is away is our fault: 503, and nothing is registered", async () => {
    const principal = newKey();
    const ask = await asking(world.url, principal);
    const mandate = mandateOf(principal.address, newKey().address);
    const lineage = [await wireGrant(principal, mandate)];
    proxy.fail({ method: "*", kind: "drop" });
    const refused = await ask("POST", "", { lineage });
    proxy.heal();
    expect([refused.status, refused.body.code]).deep.equal([503, "chain_unavailable"]);
    expect((await ask("GET", `/${idOfMandate(mandate)}`)).status).equal(404);
    expect((await decided(() => ask("POST", "", { lineage }))).status).equal(201);
  });

  it("approved on the chain, it needs no signature here", async () => {
    const principal = newKey();
    const ask = await asking(world.url, principal);
    const mandate = mandateOf(principal.address, newKey().address);
    const unsigned = { ...(await wireGrant(principal, mandate)), signature: "0x" };
    expect((await ask("POST", "", { lineage: [unsigned] })).body.code).equal("mandate_signature_invalid");
    await rpc(world.chain.url, "hardhat_setBalance", [principal.address, numberToHex(10n ** 18n)]);
    const data = encodeFunctionData({ abi: mandateRegistryAbi, functionName: "approve", args: [[mandate]] });
    const raw = await principal.signTransaction({ type: "eip1559", chainId: 84532, to: LOCAL_MANDATE_REGISTRY, data, nonce: 0, gas: 1_000_000n, maxFeePerGas: 10_000_000_000n, maxPriorityFeePerGas: 1n });
    await world.chain.client.waitForTransactionReceipt({ hash: await world.chain.client.sendRawTransaction({ serializedTransaction: raw }) });
    const registered = await ask("POST", "", { lineage: [unsigned] });
    expect(registered).nested.include({ status: 201, "body.onChain.approved": true });
  });

  it("what was revoked while no process followed is found by the next one, from the cursor on", async () => {
    const { deps } = world.relayer;
    const under = await granted(world);
    const { db } = deps;
    const stands = async () => (await findLineage(db, under.mandateId))[0]!;
    await until("the first reading", async () => (await stands()).chain.block > 0n);
    // As it would be if everything had stopped a moment before the revocation.
    const { rows } = await db.query<{ block_number: bigint; block_hash: Buffer }>("SELECT block_number, block_hash FROM chain_cursor WHERE name = 'mandates'");
    await revokeOnChain(under);
    await until("the revocation", async () => (await stands()).chain.revoked);
    await db.query("UPDATE mandate SET chain_revoked = false, chain_block = $2 WHERE mandate_id = $1", [Buffer.from(under.mandateId.slice(2), "hex"), rows[0]!.block_number]);
    await db.query("UPDATE chain_cursor SET block_number = $1, block_hash = $2 WHERE name = 'mandates'", [rows[0]!.block_number, rows[0]!.block_hash]);
    await createMandateFollower(deps)();
    await until("the next process", async () => (await stands()).chain.revoked);
  });

  it("what a process remembers of a bound mandate is forgotten when another one ends it, and when the chain does", async () => {
    const here = world.relayer.deps;
    const there = (await world.anotherRelayer()).relayer.deps;
    const [ended, onChain] = [await granted(world), await granted(world)];
    const stranger = newKey().address;
    for (const deps of [here, there]) {
      expect((await boundMandate(deps, ended.principal.address, ended.guard.address))?.lineage.map(({ revoked }) => revoked)).deep.equal([undefined]);
      expect((await boundMandate(deps, onChain.principal.address, onChain.guard.address))?.mandateId).equal(onChain.mandateId);
      expect(await boundMandate(deps, stranger, ended.guard.address)).equal(undefined);
      expect(await boundMandate(deps, ended.principal.address, stranger)).equal(undefined);
    }
    await ended.ask("DELETE", `/${ended.mandateId}`);
    await revokeOnChain(onChain);
    for (const deps of [here, there]) {
      await until("the revocation", async () => (await boundMandate(deps, ended.principal.address, ended.guard.address))?.lineage[0]?.revoked === "relayer");
      await until("the chain's", async () => (await boundMandate(deps, onChain.principal.address, onChain.guard.address))?.lineage[0]?.revoked === "chain");
    }
  });

  it("a channel that opens after its voucher key was bound is under the mandate from its first call on", async () => {
    const under = await granted(world, { limit: PRICE });
    const [channel] = await openChannels(world, under, 1, PRICE * 10n);
    const [first, second] = await Promise.all([PRICE, PRICE * 2n].map((ceiling) => paidCall(world.chain, channel!, ceiling)));
    expect((await decided(() => first!(world.url))).status).equal(200);
    expect((await decided(() => second!(world.url))).body.code).equal("mandate_exhausted");
    const { rows } = await world.relayer.deps.db.query("SELECT mandate_id FROM payment WHERE channel_id = $1", [Buffer.from(channel!.channelId.slice(2), "hex")]);
    expect(rows).deep.equal([{ mandate_id: Buffer.from(under.mandateId.slice(2), "hex") }]);
  });
});
