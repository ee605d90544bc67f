// Calls of one channel that overtake each other: a corrective 402 that was written before other calls were charged arrives after their answers.
import { expect } from "chai";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { zeroHash } from "viem";
import { ChannelBook, type Ticket } from "../../sdk/src/agent/channel.ts";
import { createAgent } from "../../sdk/src/agent/agent.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { until } from "../support/settlement-world.ts";

const PRICE = 1_000n;

/** Something that is waited for. */
function gate() {
  let open = (): void => {};
  const opened = new Promise<void>((done) => (open = done));
  return { opened, open };
}

describe("the books of a channel", () => {
  it("a state that is older than answers takes nothing back that they said", () => {
    const book = new ChannelBook({ channelId: zeroHash, config: {} as ChannelConfig, signed: 0n, charged: 0n, balance: 0n });
    book.balance = 20n * PRICE;
    const take = (): Ticket => {
      const ticket = book.take(PRICE, 0n, undefined, 64);
      if (!("ceiling" in ticket)) throw new Error("no ticket");
      book.signed = ticket.ceiling;
      return ticket;
    };
    book.settle(take(), PRICE, PRICE);
    const [a, b, c] = [take(), take(), take()];
    book.settle(b, PRICE, 2n * PRICE); // now the seller refuses a, and says that two are charged
    book.settle(c, PRICE, 3n * PRICE); // which arrives after this
    book.release(a, false);
    book.resync(2n * PRICE, undefined, a.ceiling, a.answers);
    expect([book.charged, book.explained]).deep.equal([3n * PRICE, 3n * PRICE]);
    // A state that nothing was answered after is the seller's word: the books go on from there.
    const d = take();
    book.release(d, false);
    book.resync(2n * PRICE, undefined, d.ceiling, d.answers);
    expect([book.charged, book.explained]).deep.equal([2n * PRICE, 2n * PRICE]);
  });
});

describe("an agent whose calls overtake each other", function () {
  this.timeout(120_000);
  let world: TestWorld;
  before(async () => void (world = await startTestWorld()));
  after(() => world.stop());

  it("takes a 402 that is older than answers for what it is, and goes on", async () => {
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, 1_000_000n);
    const [secondCharged, refusalWritten, thirdAnswered] = [gate(), gate(), gate()];
    const refusals: string[] = [];
    // /a has the lowest ceiling. It reaches the relayer after /b was charged, and its 402 reaches us after /c's answer.
    const overtaking: typeof fetch = async (input, init) => {
      const { pathname } = new URL(input instanceof Request ? input.url : input);
      const pays = new Headers(init?.headers).has("payment-signature");
      if (pays && pathname.endsWith("/a")) await secondCharged.opened;
      if (pays && pathname.endsWith("/c")) await refusalWritten.opened;
      const response = await fetch(input, init);
      if (pays && pathname.endsWith("/b")) secondCharged.open();
      if (pays && pathname.endsWith("/c")) setTimeout(() => thirdAnswered.open(), 50); // once the agent has it in its books
      if (pays && response.status === 402) {
        refusals.push(pathname);
        refusalWritten.open();
        await thirdAnswered.opened;
      }
      return response;
    };
    const agent = createAgent({ account, rpcUrl: world.chain.url, chainId: BASE_SEPOLIA.chainId, fetch: overtaking });
    const url = (path: string) => `${world.url}/s/echo${path}`;
    await until(async () => (await agent.fetch(url("/first"))).status === 200); // 503 while the chain is not known well enough
    const answers = await Promise.all(["/a", "/b", "/c"].map((path) => agent.fetch(url(path))));
    expect(answers.map(({ status }) => status)).deep.equal([200, 200, 200]);
    expect(refusals).deep.equal(["/s/echo/a"]);
    expect((await agent.fetch(url("/last"))).status).equal(200);
    const { channels: [channel] } = await agent.wallet.getBalance();
    expect(channel!.charged).equal(5n * PRICE);
    await agent.close();
  });
});
