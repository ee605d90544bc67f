// The scheme exact on the gateway: the official client first, then payments by hand with strangers, cancellations, crashes and a chain
// that is away. What is charged has moved on chain; what has not moved is not delivered.
import { toClientEvmSigner } from "@x402/evm";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { createPublicClient, encodeFunctionData, erc20Abi, http, parseAbi, parseSignature, parseUnits, toHex, type Hex, type PrivateKeyAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { transferWithAuthorizationTypes } from "../../sdk/src/typed-data.ts";
import { encodeHeader, requiredOf, settleOf, type Required } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { startRpcProxy, type RpcProxy } from "../support/rpc-proxy.ts";
import { Sessions } from "../support/session.ts";

const PRICE = 1000n;
const USDC = BASE_SEPOLIA.usdc;
const tokenAbi = parseAbi([
  "function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)",
  "function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)",
]);
type Problem = { code: string; field?: string; retry: string; txHash?: string };
type Authorized = { authorization: { from: Hex; to: Hex; value: string; validAfter: string; validBefore: string; nonce: Hex }; signature: Hex };

describe("exact on the gateway", function () {
  this.timeout(120_000);
  let world: TestWorld;
  let proxy: RpcProxy;
  let terms: Required;

  before(async () => {
    world = await startTestWorld({ rpcUrl: async (chainUrl) => (proxy = await startRpcProxy(chainUrl)).url });
    terms = requiredOf(await fetch(url()));
  });
  after(async () => {
    await world.stop();
    await proxy.stop();
  });
  afterEach(() => proxy.heal());

  const url = (path = "/") => `${world.url}/s/echo${path}`;
  const exactTerms = () => terms.accepts.find(({ scheme }) => scheme === "exact")!;
  const balanceOf = (owner: Hex) => world.chain.client.readContract({ address: USDC.address, abi: erc20Abi, functionName: "balanceOf", args: [owner] });
  async function newPayer(funds = parseUnits("1", 6)): Promise<PrivateKeyAccount> {
    const account = privateKeyToAccount(generatePrivateKey());
    if (funds > 0n) await world.chain.mintUSDC(account.address, funds);
    return account;
  }
  async function authorize(payer: PrivateKeyAccount, change: Partial<{ value: bigint; to: Hex; validAfter: bigint; validBefore: bigint; nonce: Hex }> = {}): Promise<Authorized> {
    const message = { from: payer.address, to: exactTerms().payTo, value: PRICE, validAfter: 0n, validBefore: BigInt(Math.floor(Date.now() / 1000) + 90), nonce: toHex(crypto.getRandomValues(new Uint8Array(32))), ...change };
    const domain = { name: USDC.name, version: USDC.version, chainId: BASE_SEPOLIA.chainId, verifyingContract: USDC.address };
    const signature = await payer.signTypedData({ domain, types: transferWithAuthorizationTypes, primaryType: "TransferWithAuthorization", message });
    return { signature, authorization: { ...message, value: String(message.value), validAfter: String(message.validAfter), validBefore: String(message.validBefore) } };
  }
  const envelope = (payload: unknown, id?: string) => ({ x402Version: 2, accepted: exactTerms(), payload, resource: terms.resource, extensions: id === undefined ? {} : { "payment-identifier": { info: { required: false, id } } } });
  const send = (payload: unknown, init: RequestInit = {}, to = url(), id?: string) => fetch(to, { ...init, headers: { ...(init.headers as Record<string, string>), "payment-signature": encodeHeader(envelope(payload, id)) } });
  const problemOf = async (response: Response) => (await response.json()) as Problem;
  const rowsOf = async (payer: Hex) => (await world.relayer.deps.db.query("SELECT state, charged_atomic, release_reason FROM payment WHERE payer = $1 ORDER BY reserved_at", [Buffer.from(payer.slice(2), "hex")])).rows;
  const transfersOf = async (payer: Hex) => (await world.chain.client.getContractEvents({ address: USDC.address, abi: erc20Abi, eventName: "Transfer", args: { from: payer }, fromBlock: 0n })).length;
  /** Sends the very authorisation from another account, as anybody may. */
  const frontRun = ({ authorization, signature }: Authorized) => {
    const { r, s, yParity } = parseSignature(signature);
    const { from, to, value, validAfter, validBefore, nonce } = authorization;
    const data = encodeFunctionData({ abi: tokenAbi, functionName: "transferWithAuthorization", args: [from, to, BigInt(value), BigInt(validAfter), BigInt(validBefore), nonce, 27 + yParity, r, s] });
    return new Sessions(world.chain).sendTo(world.chain.account(9), USDC.address, data);
  };

  it("is paid by the official client: one transfer a call, then the answer", async () => {
    const payer = await newPayer();
    const client = new x402Client().register("eip155:84532", new ExactEvmScheme(toClientEvmSigner(payer, createPublicClient({ chain: baseSepolia, transport: http(world.chain.url) }))));
    const pay = wrapFetchWithPayment(fetch, client);
    const before = await balanceOf(exactTerms().payTo);
    for (let call = 1; call <= 3; call++) {
      const response = await pay(url(), { method: "POST", body: `${call}` });
      expect(response.status, await response.clone().text()).to.equal(200);
      expect(await response.json()).to.include({ body: `${call}` });
      const settle = settleOf(response);
      expect(settle).to.include({ success: true, amount: "1000" });
      const receipt = await world.chain.client.getTransactionReceipt({ hash: settle.transaction as Hex });
      expect(receipt.status).to.equal("success");
    }
    expect(await balanceOf(exactTerms().payTo) - before).to.equal(3n * PRICE);
    expect((await rowsOf(payer.address)).map(({ state }) => state)).to.deep.equal(["charged", "charged", "charged"]);
  });

  it("refuses what could not be settled, naming the field, before anything runs", async () => {
    const payer = await newPayer();
    const soon = BigInt(Math.floor(Date.now() / 1000));
    const cases: [Authorized, string, string][] = [
      [await authorize(payer, { value: PRICE + 1n }), "authorization_value_mismatch", "payload.authorization.value"],
      [await authorize(payer, { to: world.chain.account(3).address }), "authorization_recipient_mismatch", "payload.authorization.to"],
      [await authorize(payer, { validBefore: soon + 2n }), "authorization_expired", "payload.authorization.validBefore"],
      [await authorize(payer, { validAfter: soon + 60n }), "authorization_not_yet_valid", "payload.authorization.validAfter"],
      [{ ...(await authorize(payer)), signature: (await authorize(payer)).signature }, "authorization_signature_invalid", "payload.signature"],
      [await authorize(await newPayer(PRICE - 1n)), "insufficient_funds", "payload.authorization.value"],
    ];
    const runs = world.provider.seen.length;
    for (const [payload, code, field] of cases) {
      const response = await send(payload);
      expect([response.status, response.headers.get("payment-required") !== null], code).to.deep.equal([402, true]);
      expect(await problemOf(response)).to.include({ code, field });
    }
    const malformed = await send({ authorization: { from: "0x12" }, signature: "0x" });
    expect([malformed.status, (await problemOf(malformed)).code]).to.deep.equal([400, "payment_malformed"]);
    expect(world.provider.seen.length).to.equal(runs);
    expect(await rowsOf(payer.address)).to.deep.equal([]);
  });

  it("takes nothing for a failing upstream, and the same authorisation pays for the next try", async () => {
    const payer = await newPayer();
    const payload = await authorize(payer);
    expect((await send(payload, {}, url("/status/500"))).status).to.equal(500);
    expect(await transfersOf(payer.address)).to.equal(0);
    expect((await send(payload)).status).to.equal(200);
    expect(await transfersOf(payer.address)).to.equal(1);
  });

  it("buys one answer with one authorisation, however many ask at once in two processes", async () => {
    const payer = await newPayer();
    const second = await world.anotherRelayer();
    const payload = await authorize(payer);
    const runs = world.provider.seen.length;
    const all = await Promise.all(Array.from({ length: 12 }, (_, index) => send(payload, { method: "POST", body: "same" }, index % 2 === 0 ? url() : `${second.url}/s/echo/`)));
    expect(all.filter(({ status }) => status === 200).length).to.equal(1);
    expect(all.every(({ status }) => [200, 402, 503].includes(status))).to.equal(true);
    expect([world.provider.seen.length - runs, await transfersOf(payer.address)]).to.deep.equal([1, 1]);
    const other = await send(payload, { method: "POST", body: "another request" });
    expect([other.status, (await problemOf(other)).code]).to.deep.equal([402, "authorization_used"]);
  });

  it("gives the answer again to whoever has the identifier, and to nobody who only saw the chain", async () => {
    const payer = await newPayer();
    const payload = await authorize(payer);
    const id = "identifier-0123456789";
    const first = await send(payload, { method: "POST", body: "a" }, url(), id);
    const again = await send(payload, { method: "POST", body: "a" }, url(), id);
    expect([again.status, await again.text()]).to.deep.equal([200, await first.text()]);
    expect(settleOf(again)).to.deep.equal(settleOf(first));
    expect((await problemOf(await send(payload, { method: "POST", body: "a" }))).code).to.equal("authorization_used");
    const conflict = await send(await authorize(payer), { method: "POST", body: "b" }, url(), id);
    expect([conflict.status, (await problemOf(conflict)).code]).to.deep.equal([409, "payment_identifier_conflict"]);
    const forged = await send({ ...payload, signature: `0x${"1".repeat(130)}` }, { method: "POST", body: "a" }, url(), id);
    expect((await problemOf(forged)).code).to.equal("authorization_signature_invalid");
    expect(await transfersOf(payer.address)).to.equal(1);
  });

  it("delivers when a stranger was faster with the same authorisation: the money has moved", async () => {
    const payer = await newPayer();
    const payload = await authorize(payer);
    const buying = send(payload, {}, url("/slow/800"));
    await sleep(300);
    const { hash } = await frontRun(payload);
    const response = await buying;
    expect([response.status, settleOf(response).transaction]).to.deep.equal([200, hash]);
    expect(await transfersOf(payer.address)).to.equal(1);
  });

  it("delivers nothing when the payer cancels in the middle", async () => {
    const payer = await newPayer();
    const payload = await authorize(payer);
    const buying = send(payload, {}, url("/slow/800"));
    await sleep(300);
    const domain = { name: USDC.name, version: USDC.version, chainId: BASE_SEPOLIA.chainId, verifyingContract: USDC.address };
    const types = { CancelAuthorization: [{ name: "authorizer", type: "address" }, { name: "nonce", type: "bytes32" }] } as const;
    const { r, s, yParity } = parseSignature(await payer.signTypedData({ domain, types, primaryType: "CancelAuthorization", message: { authorizer: payer.address, nonce: payload.authorization.nonce } }));
    await new Sessions(world.chain).sendTo(world.chain.account(9), USDC.address, encodeFunctionData({ abi: tokenAbi, functionName: "cancelAuthorization", args: [payer.address, payload.authorization.nonce, 27 + yParity, r, s] }));
    const response = await buying;
    expect([response.status, (await problemOf(response)).code]).to.deep.equal([402, "authorization_used"]);
    expect(await rowsOf(payer.address)).to.deep.equal([{ state: "released", charged_atomic: null, release_reason: "settlement_authorization_used" }]);
    const { rows } = await world.relayer.deps.db.query("SELECT count(*) AS kept FROM answer JOIN payment USING (payment_id) WHERE payer = $1", [Buffer.from(payer.address.slice(2), "hex")]);
    expect(rows[0].kept).to.equal(0n);
  });

  it("an authorisation that was used elsewhere before buys nothing here", async () => {
    const payer = await newPayer();
    const payload = await authorize(payer);
    await frontRun(payload);
    const runs = world.provider.seen.length;
    expect((await problemOf(await send(payload))).code).to.equal("authorization_used");
    expect(world.provider.seen.length).to.equal(runs);
  });

  it("withholds the answer while the chain is away, says pending, and delivers it to the same payment afterwards", async () => {
    const payer = await newPayer();
    const payload = await authorize(payer);
    const id = "while-the-chain-is-away";
    const buying = send(payload, {}, url("/slow/600"), id);
    await sleep(250);
    proxy.fail({ method: "*", kind: "drop" });
    const response = await buying;
    expect(response.status).to.equal(503);
    expect(await problemOf(response)).to.include({ retry: "safe" });
    expect((await rowsOf(payer.address)).map(({ state }) => state)).to.deep.equal(["settling"]);
    proxy.heal();
    const runs = world.provider.seen.length;
    for (const deadline = Date.now() + 20_000; ; await sleep(200)) {
      const again = await send(payload, {}, url("/slow/600"), id);
      if (again.status === 200) break;
      expect(again.status, await again.text()).to.equal(503);
      expect(Date.now()).to.be.lessThan(deadline);
    }
    expect([world.provider.seen.length, await transfersOf(payer.address)]).to.deep.equal([runs, 1]);
  });

  it("a process that died between storing and settling leaves it to the next one", async () => {
    const payer = await newPayer();
    const payload = await authorize(payer);
    const { db } = world.relayer.deps;
    const { authorization } = payload;
    const bytes = (hex: string) => Buffer.from(hex.slice(2), "hex");
    await db.query(
      `INSERT INTO payment (payment_id, scheme, payer, receiver, token, authorization_nonce, valid_after, valid_before, signature, service, resource, request_hash, price_atomic, reserved_until, state, output_hash, started_at, ended_at)
       VALUES ('pay_died', 'exact', $1, $2, $3, $4, 0, $5, $6, 'echo', 'x', $4, 1000, now(), 'settling', $4, now(), now())`,
      [bytes(authorization.from), bytes(authorization.to), bytes(USDC.address), bytes(authorization.nonce), authorization.validBefore, bytes(payload.signature)],
    );
    for (const deadline = Date.now() + 20_000; (await rowsOf(payer.address))[0].state !== "charged"; await sleep(200)) expect(Date.now()).to.be.lessThan(deadline);
    expect(await transfersOf(payer.address)).to.equal(1);
  });
});
