// exact on the gateway against payers who want work for nothing, gas for nothing, or everybody else's payments stuck; and against a node
// that does not tell what happened.
import { expect } from "chai";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeFunctionData, erc20Abi, numberToHex, parseAbi, parseSignature, serializeSignature, toHex, type Abi, type Address, type Hex, type LocalAccount } from "viem";
import { settleWithheld } from "../../relayer/src/capabilities/gateway/exact-rail.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { requiredOf, settleOf } from "../support/buyer.ts";
import { authorize, exactTermsOf, frontRun, newPayer, nowS, paymentOf, randomNonce, sendPayment, type Authorized, type ExactTerms } from "../support/exact-hand.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { startRpcProxy, type RpcProxy } from "../support/rpc-proxy.ts";
import { Sessions } from "../support/session.ts";

const USDC = BASE_SEPOLIA.usdc;
const PRICE = 1000n;
const CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const bytes = (hex: string) => Buffer.from(hex.slice(2), "hex");
type Problem = { code: string; field?: string; retry: string };

describe("exact on the gateway, hostile", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let proxy: RpcProxy;
  let terms: ExactTerms;

  before(async () => {
    world = await startTestWorld({ sweepsByHand: true, rpcUrl: async (chainUrl) => (proxy = await startRpcProxy(chainUrl)).url });
    terms = exactTermsOf(requiredOf(await fetch(url())));
  });
  after(async () => {
    await world.stop();
    await proxy.stop();
  });
  afterEach(() => proxy.heal());

  const url = (path = "/") => `${world.url}/s/echo${path}`;
  const buy = (payload: Authorized, path = "/", id?: string) => sendPayment(url(path), paymentOf(terms, payload, id));
  const problemOf = async (response: Response) => (await response.json()) as Problem;
  const query = async (text: string, values: unknown[]) => (await world.relayer.deps.db.query(text, values)).rows;
  const statesOf = async (payer: Address) => (await query("SELECT state FROM payment WHERE payer = $1", [bytes(payer)])).map(({ state }) => state as string);
  const transfersOf = async (payer: Address) => (await world.chain.client.getContractEvents({ address: USDC.address, abi: erc20Abi, eventName: "Transfer", args: { from: payer }, fromBlock: 0n })).length;
  const byAdmin = (data: Hex) => new Sessions(world.chain).sendTo(world.chain.account(0), USDC.address, data);

  async function newWallet(owner: LocalAccount, funds = 100n * PRICE): Promise<{ address: Address; abi: Abi }> {
    const { abi, bytecode } = JSON.parse(readFileSync(new URL("../../artifacts/contracts/test-support/Wallets.sol/ScriptedWallet.json", import.meta.url), "utf8")) as { abi: Abi; bytecode: Hex };
    const hash = await world.chain.client.deployContract({ abi, bytecode, args: [owner.address], account: world.chain.account(9), chain: null });
    const { contractAddress } = await world.chain.client.waitForTransactionReceipt({ hash });
    await world.chain.mintUSDC(contractAddress!, funds);
    return { address: contractAddress!, abi };
  }
  const setMode = (wallet: { address: Address; abi: Abi }, mode: number, threshold = 0n) =>
    new Sessions(world.chain).sendTo(world.chain.account(9), wallet.address, encodeFunctionData({ abi: wallet.abi, functionName: "setMode", args: [mode, threshold] }));

  it("works for nobody whose transfer the token would refuse: it is tried before the service runs", async () => {
    const payer = await newPayer(world.chain);
    const abi = parseAbi(["function blacklist(address account)", "function unBlacklist(address account)"]);
    const runs = world.provider.seen.length;
    const payload = await authorize(payer, terms);
    await byAdmin(encodeFunctionData({ abi, functionName: "blacklist", args: [payer.address] }));
    const refused = await buy(payload);
    expect([refused.status, (await problemOf(refused)).code]).to.deep.equal([402, "transfer_refused"]);

    // A second spelling of a good signature, which the token does not take.
    const other = await newPayer(world.chain);
    const good = await authorize(other, terms);
    const { r, s, yParity } = parseSignature(good.signature);
    const highS = { ...good, signature: serializeSignature({ r, s: numberToHex(CURVE_ORDER - BigInt(s), { size: 32 }), yParity: yParity === 0 ? 1 : 0 }) };
    expect((await buy(highS)).status).to.equal(402);
    expect(world.provider.seen.length).to.equal(runs);
    expect([...(await statesOf(payer.address)), ...(await statesOf(other.address))]).to.deep.equal([]);
    await byAdmin(encodeFunctionData({ abi, functionName: "unBlacklist", args: [payer.address] }));
    expect((await buy(payload)).status).to.equal(200);
  });

  it("a contract wallet buys like any payer", async () => {
    const owner = await newPayer(world.chain, 0n);
    const wallet = await newWallet(owner);
    const response = await buy(await authorize(owner, terms, { from: wallet.address }));
    expect(response.status, await response.clone().text()).to.equal(200);
    expect(settleOf(response)).to.include({ success: true });
    expect(await transfersOf(wallet.address)).to.equal(1);
  });

  it("an authorisation to somebody else does not slip in behind a first attempt that ended without a charge", async () => {
    const payer = await newPayer(world.chain);
    const nonce = randomNonce();
    const gone = new AbortController();
    const first = sendPayment(url("/slow/700"), paymentOf(terms, await authorize(payer, terms, { nonce })), { signal: gone.signal }).catch(() => undefined);
    await sleep(250);
    const selfPaid = buy(await authorize(payer, terms, { nonce, to: payer.address }), "/slow/700");
    await sleep(250);
    gone.abort();
    await first;
    const response = await selfPaid;
    expect([response.status, (await problemOf(response)).code]).to.deep.equal([402, "authorization_recipient_mismatch"]);
    expect(await transfersOf(payer.address)).to.equal(0);
  });

  it("funds for two calls run the service twice, however many are sent at once", async () => {
    const payer = await newPayer(world.chain, 2n * PRICE);
    const second = await world.anotherRelayer();
    const runs = world.provider.seen.length;
    const payloads = await Promise.all(Array.from({ length: 12 }, () => authorize(payer, terms)));
    const answers = await Promise.all(payloads.map((payload, index) => sendPayment(index % 2 === 0 ? url("/slow/500") : `${second.url}/s/echo/slow/500`, paymentOf(terms, payload))));
    expect(world.provider.seen.length - runs).to.equal(2);
    expect(answers.filter(({ status }) => status === 200).length).to.equal(2);
    expect(await transfersOf(payer.address)).to.equal(2);
  });

  it("does not keep an answer for an authorisation that never ends", async () => {
    const payer = await newPayer(world.chain);
    const runs = world.provider.seen.length;
    const response = await buy(await authorize(payer, terms, { validBefore: nowS() + 31_536_000n }));
    expect([response.status, await problemOf(response)]).to.deep.include.members([402]);
    expect(world.provider.seen.length).to.equal(runs);
    // What stock clients of other makers sign, an hour, is no reason to refuse.
    expect((await buy(await authorize(payer, terms, { validBefore: nowS() + 3600n }))).status).to.equal(200);
  });

  it("a service that does not answer holds up its own buyer and nobody else", async () => {
    const [held, opener] = [await newPayer(world.chain), await newPayer(world.chain)];
    const waiting = buy(await authorize(held, terms), "/gate/2");
    const others = await Promise.all(Array.from({ length: 6 }, async () => buy(await authorize(await newPayer(world.chain), terms))));
    expect(others.map(({ status }) => status)).to.deep.equal(others.map(() => 200));
    expect(await transfersOf(held.address)).to.equal(0);
    const opening = buy(await authorize(opener, terms), "/gate/2");
    expect([(await waiting).status, (await opening).status]).to.deep.equal([200, 200]);
  });

  async function insertSettling(paymentId: string, { authorization, signature }: Authorized, agoS: number): Promise<void> {
    await query(
      `INSERT INTO payment (payment_id, scheme, payer, receiver, token, authorization_nonce, valid_after, valid_before, signature, service, resource, request_hash, price_atomic, reserved_at, reserved_until, state, output_hash, started_at, ended_at)
       VALUES ($1, 'exact', $2, $3, $4, $5, 0, $6, $7, 'echo', 'x', $5, 1000, now() - $8 * interval '1 second', now() - $8 * interval '1 second', 'settling', $5, now(), now())`,
      [paymentId, bytes(authorization.from), bytes(authorization.to), bytes(USDC.address), bytes(authorization.nonce), authorization.validBefore, bytes(signature), agoS],
    );
  }

  it("payments that cannot be settled do not keep others from it", async () => {
    const poor = await newPayer(world.chain, 0n);
    for (let stuck = 0; stuck < 120; stuck++) await insertSettling(`pay_stuck_${stuck}`, await authorize(poor, terms, { validBefore: nowS() + 3000n }), 600);
    const payer = await newPayer(world.chain);
    await insertSettling("pay_behind", await authorize(payer, terms), 1);
    for (const deadline = Date.now() + 40_000; (await statesOf(payer.address))[0] !== "charged"; await settleWithheld(world.relayer.deps)) expect(Date.now(), "still stuck").to.be.lessThan(deadline);
    await query("UPDATE payment SET state = 'released', release_reason = 'test' WHERE payer = $1", [bytes(poor.address)]);
  });

  it("a node that has not seen the logs yet costs nobody a paid answer", async () => {
    const payer = await newPayer(world.chain);
    const payload = await authorize(payer, terms);
    const id = "logs-that-come-later-0";
    const isOfToken = ([filter]: unknown[]) => String((filter as { address?: unknown }).address).toLowerCase() === USDC.address.toLowerCase();
    const buying = buy(payload, "/slow/800", id);
    await sleep(300);
    proxy.fail({ method: "eth_getLogs", kind: "lie", lie: (result, params) => (isOfToken(params) ? [] : result) });
    const { hash } = await frontRun(world.chain, payload);
    const first = await buying;
    expect([first.status, (await problemOf(first)).code]).to.deep.equal([503, "settlement_pending"]);
    proxy.heal();
    const again = await buy(payload, "/slow/800", id);
    expect([again.status, settleOf(again).transaction]).to.deep.equal([200, hash]);
  });

  it("pays no more gas than a transfer needs for wallets that burn it", async () => {
    const owner = await newPayer(world.chain, 0n);
    // Loops over its own balance checks until it has used a few million gas, then says yes.
    const burner = toHex(crypto.getRandomValues(new Uint8Array(20)));
    await world.chain.client.setCode({ address: burner, bytecode: GAS_BURNER });
    await world.chain.mintUSDC(burner, 10n * PRICE);
    const runs = world.provider.seen.length;
    const response = await buy(await authorize(owner, terms, { from: burner }));
    expect([response.status, (await problemOf(response)).code]).to.deep.equal([402, "transfer_too_expensive"]);
    expect([world.provider.seen.length - runs, await transfersOf(burner)]).to.deep.equal([0, 0]);
  });

  it("sends for a wallet that says yes to the simulation and no on chain once, not until the authorisation ends", async () => {
    const owner = await newPayer(world.chain, 0n);
    const wallet = await newWallet(owner);
    const payload = await authorize(owner, terms, { from: wallet.address });
    // Submitted while the wallet says yes, mined after it has changed its mind: the block is held back in between.
    const buying = buy(payload, "/slow/600");
    await sleep(250);
    await world.chain.client.setIntervalMining({ interval: 0 });
    await world.chain.client.setAutomine(false);
    const mind = await world.chain.account(9).signTransaction({
      type: "eip1559", chainId: BASE_SEPOLIA.chainId, to: wallet.address, data: encodeFunctionData({ abi: wallet.abi, functionName: "setMode", args: [1, 0n] }),
      nonce: await world.chain.client.getTransactionCount({ address: world.chain.account(9).address }), gas: 200_000n, maxFeePerGas: 50_000_000_000n, maxPriorityFeePerGas: 5_000_000_000n,
    });
    for (const deadline = Date.now() + 10_000; (await sentFor(payload.authorization.nonce)) === 0; await sleep(50)) expect(Date.now()).to.be.lessThan(deadline);
    await world.chain.client.sendRawTransaction({ serializedTransaction: mind });
    await world.chain.client.mine({ blocks: 1 });
    await world.chain.client.setAutomine(true);
    await world.chain.client.setIntervalMining({ interval: 1 });
    expect((await buying).status).to.equal(503);
    await setMode(wallet, 0);
    for (let pass = 0; pass < 3; pass++) {
      await query("UPDATE payment SET reserved_until = now() WHERE payer = $1", [bytes(wallet.address)]);
      await settleWithheld(world.relayer.deps);
    }
    const attempts = await query("SELECT count(*) AS sent FROM chain_tx WHERE purpose = 'exact' AND payment_id = (SELECT payment_id FROM payment WHERE payer = $1)", [bytes(wallet.address)]);
    expect([attempts[0].sent, await transfersOf(wallet.address)]).to.deep.equal([1n, 0]);
  });
  const sentFor = async (nonce: Hex) => (await query("SELECT 1 FROM exact_settlement WHERE nonce = $1", [bytes(nonce)])).length;
});

/** isValidSignature that counts down from 100,000 (some 3M gas), then answers with EIP-1271's word. */
const GAS_BURNER: Hex = "0x620186a05b6001900380600457631626ba7e60e01b60005260206000f3";
