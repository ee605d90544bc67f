// Every pairing of buyer, seller, facilitator and scheme, through every behaviour; see pairings.ts and behaviours.ts.
import { BEHAVIOURS } from "./behaviours.ts";
import { openBuyer, openSeller, type Seller } from "./parties.ts";
import { CLIENTS, FACILITATORS, PAIRINGS, SERVERS } from "./pairings.ts";
import { startMatrixWorld, type MatrixWorld } from "./world.ts";

describe("interop matrix", function () {
  this.timeout(120_000);
  let world: MatrixWorld;
  before(async () => void (world = await startMatrixWorld()));
  after(() => world.stop());

  for (const pairing of PAIRINGS) {
    const { client, server, facilitator, scheme } = pairing;
    describe(`${CLIENTS[client]} buys from ${SERVERS[server]} over ${FACILITATORS[facilitator]}, ${scheme}`, () => {
      let seller: Seller;
      before(async () => void (seller = await openSeller(world, pairing)));
      after(() => seller.stop());
      for (const { name, run } of BEHAVIOURS.filter(({ schemes }) => schemes.includes(scheme))) {
        it(name, async () => run({ world, seller, buyer: await openBuyer(world, pairing) }));
      }
    });
  }
});
