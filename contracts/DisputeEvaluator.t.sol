// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DisputeWorld} from "./test-support/DisputeWorld.sol";
import {IDisputeEvaluator} from "./interfaces/IDisputeEvaluator.sol";
import {IERC8183} from "./interfaces/IERC8183.sol";
import {IJobEscrow} from "./interfaces/IJobEscrow.sol";
import {IVerifierPool} from "./interfaces/IVerifierPool.sol";
import {ScriptedToken} from "./test-support/Tokens.sol";

/// @notice The ways of a job under DisputeEvaluator, from terms to rulings: refusals first, then who gets what.
contract DisputeEvaluatorTest is DisputeWorld {
    event ReviewStarted(uint256 indexed jobId, address indexed client, address indexed provider, uint256 endsAt);
    event AcceptedBySilence(uint256 indexed jobId, address indexed client, address indexed provider);
    event Disputed(
        uint256 indexed jobId, address indexed client, address indexed provider, address by, uint256 bond, bytes32 evidence
    );
    event Conceded(uint256 indexed jobId, address indexed by, uint16 providerBps);
    event Escalated(uint256 indexed jobId, address indexed by, uint256 bond);
    event RoundClosed(uint256 indexed jobId, uint256 indexed round, uint16 resultBps, uint8 revealed, uint8 seats, bool silent);
    event VerifierSlashed(address indexed verifier, uint256 indexed jobId, uint256 round, uint256 amount);
    event Ruled(
        uint256 indexed jobId,
        address indexed client,
        address indexed provider,
        uint16 providerBps,
        uint256 providerAmount,
        uint256 clientAmount,
        bytes32 reasoning
    );

    uint256 private constant SPAN = 1_000 + 2 * 900 + 300 + MIN_WINDOW;

    function setUp() public {
        buildDisputes();
    }

    function _refuse(bytes memory reason) private {
        vm.expectRevert(reason);
    }

    function _expect() private {
        vm.expectEmit(true, true, true, true, address(judge));
    }

    function _byHook(bytes4 verb, bytes memory reason) private view returns (bytes memory) {
        return abi.encodeWithSelector(IJobEscrow.HookFailed.selector, address(judge), verb, reason);
    }

    function _phase(uint256 jobId, IDisputeEvaluator.Phase phase) private view {
        vm.assertEq(uint256(judge.caseOf(jobId).phase), uint256(phase), "phase");
    }

    // ------------------------------------------------------------------ terms

    function test_unsoundTermsAreRefused() public {
        for (uint256 i = 0; i < 13; i++) {
            IDisputeEvaluator.Terms memory t = i < 9 ? panelTerms() : arbitratorTerms();
            if (i == 0) t.reviewWindow = MIN_WINDOW - 1;
            if (i == 1) t.commitWindow = MIN_WINDOW - 1;
            if (i == 2) t.revealWindow = MIN_WINDOW - 1;
            if (i == 3) t.escalationWindow = MIN_WINDOW - 1;
            if (i == 4) t.panelSize = 0;
            if (i == 5) t.panelSize = 10;
            if (i == 6) t.quorum = 1;
            if (i == 7) t.disputeBond = 3 * SEAT / 100 - 1;
            if (i == 8) t.clientAgent = provider;
            if (i == 9) t.arbitrator = client;
            if (i == 10) t.arbitrator = provider;
            if (i == 11) t.panelSize = 1;
            if (i == 12) t.defaultBps = 10_001;
            _refuse(_byHook(IERC8183.fund.selector, abi.encodeWithSelector(IDisputeEvaluator.InvalidTerms.selector, uint256(1))));
            hire(jobTerms(t));
        }
    }

    function test_valueIsLimitedByBonds() public {
        IJobEscrow.HireTerms memory h = jobTerms(panelTerms());
        uint256 most = 10 * 3 * uint256(SEAT);
        vm.assertEq(judge.maxValue(3), most, "most");
        h.budget = most + 1;
        _refuse(_byHook(IERC8183.fund.selector, abi.encodeWithSelector(IDisputeEvaluator.ValueAboveBonds.selector, most + 1, most)));
        hire(h);
        h.budget = most;
        hire(h);
        // An arbitrator has no bond, and both sides chose it.
        h = jobTerms(arbitratorTerms());
        h.budget = most + 1;
        hire(h);
    }

    function test_onlyForJobsItEvaluates() public {
        IJobEscrow.HireTerms memory h = jobTerms(panelTerms());
        h.evaluator = stranger;
        _refuse(_byHook(IERC8183.fund.selector, abi.encodeWithSelector(IDisputeEvaluator.NotItsEvaluator.selector, 1, stranger)));
        hire(h);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.OnlyEscrow.selector, stranger));
        vm.prank(stranger);
        judge.afterAction(1, IERC8183.submit.selector, "");
    }

    function test_panelNeedsVerifiers() public {
        for (uint256 i = 0; i < VERIFIERS - 2; i++) {
            uint96 free = judge.verifiers(verifier(i)).free;
            vm.prank(verifier(i));
            judge.unbond(free);
        }
        bytes memory reason = abi.encodeWithSelector(IDisputeEvaluator.TooFewVerifiers.selector, 3, 2);
        _refuse(_byHook(IERC8183.fund.selector, reason));
        hire(jobTerms(panelTerms()));
    }

    /// @notice Work is taken only while everything that may follow still fits.
    function testFuzz_submitRefusesWhatNoLongerFits(uint256 when) public {
        uint256 jobId = hire(jobTerms(panelTerms()));
        vm.assertEq(judge.spanOf(panelTerms()), SPAN, "span");
        when = bound(when, EXPIRY - SPAN - 2, EXPIRY - 1);
        vm.warp(when);
        bool fits = when + SPAN <= EXPIRY;
        if (fits) {
            _expect();
            emit ReviewStarted(jobId, client, provider, when + 1_000);
        } else {
            bytes memory reason = abi.encodeWithSelector(IDisputeEvaluator.DoesNotFit.selector, jobId, when + SPAN, EXPIRY);
            _refuse(_byHook(IERC8183.submit.selector, reason));
        }
        vm.prank(provider);
        escrow.submit(jobId, DELIVERABLE, "");
    }

    // ------------------------------------------------------------------ silence, concession

    function test_silenceAccepts() public {
        uint256 jobId = submitted(panelTerms());
        vm.warp(START + 999);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.TooEarly.selector, jobId, START + 1_000, START + 999));
        judge.finalize(jobId);
        vm.warp(START + 1_000);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.TooLate.selector, jobId, START + 1_000, START + 1_000));
        vm.prank(client);
        judge.dispute(jobId, "late");
        _expect();
        emit AcceptedBySilence(jobId, client, provider);
        vm.prank(stranger);
        judge.finalize(jobId);
        vm.assertEq(token.balanceOf(provider), WEALTH + BUDGET, "paid");
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.WrongPhase.selector, jobId, IDisputeEvaluator.Phase.Closed));
        judge.finalize(jobId);
    }

    function test_concede() public {
        uint256 jobId = hire(jobTerms(panelTerms()));
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.NotParty.selector, stranger));
        vm.prank(stranger);
        judge.concede(jobId);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.WrongPhase.selector, jobId, IDisputeEvaluator.Phase.Hired));
        vm.prank(client);
        judge.concede(jobId);
        _expect();
        emit Conceded(jobId, provider, 0);
        vm.prank(provider);
        judge.concede(jobId);
        vm.assertEq(uint256(statusOf(jobId)), uint256(IERC8183.JobStatus.Rejected), "declined");

        jobId = submitted(panelTerms());
        vm.prank(agent);
        judge.concede(jobId);
        vm.assertEq(uint256(statusOf(jobId)), uint256(IERC8183.JobStatus.Completed), "accepted");

        jobId = disputed(panelTerms());
        vm.prank(provider);
        judge.concede(jobId);
        vm.assertEq(uint256(statusOf(jobId)), uint256(IERC8183.JobStatus.Rejected), "given in");
        vm.assertEq(judge.owed(client), BOND, "the whole bond: no panel was called");
        checkJudgeBooks();
    }

    function test_concedeBySig() public {
        uint256 jobId = drawn();
        bytes32 typehash = keccak256("Concession(uint256 jobId,address party,uint256 deadline)");
        bytes32 digest = judgeDigest(abi.encode(typehash, jobId, client, START));
        bytes memory s = signature(STRANGER_KEY, digest);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.InvalidSignature.selector, client));
        judge.concedeBySig(jobId, client, START, s);
        s = signature(CLIENT_KEY, digest);
        vm.warp(START + 1);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.SignatureExpired.selector, START, START + 1));
        judge.concedeBySig(jobId, client, START, s);
        vm.warp(START);
        vm.prank(stranger);
        judge.concedeBySig(jobId, client, START, s);
        vm.assertEq(uint256(statusOf(jobId)), uint256(IERC8183.JobStatus.Completed), "paid");
        // The panel came in vain: half of the bond is its, the other the provider's.
        vm.assertEq(judge.owed(provider), BOND - BOND / 2, "provider");
        checkJudgeBooks();
        judge.releaseSeats(jobId, 1);
        vm.assertEq(judge.owed(judge.panelOf(jobId, 1)[0].verifier), BOND / 2 / 3, "a seat's share");
        checkJudgeBooks();
    }

    // ------------------------------------------------------------------ dispute

    function test_disputeRefusesAndSays() public {
        uint256 jobId = hire(jobTerms(panelTerms()));
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.WrongPhase.selector, jobId, IDisputeEvaluator.Phase.Hired));
        vm.prank(client);
        judge.dispute(jobId, "x");
        jobId = submitted(panelTerms());
        address[2] memory others = [provider, stranger];
        for (uint256 i = 0; i < 2; i++) {
            _refuse(abi.encodeWithSelector(IDisputeEvaluator.NotParty.selector, others[i]));
            vm.prank(others[i]);
            judge.dispute(jobId, "x");
        }
        token.setMode(ScriptedToken.Mode.FeeOnTransfer);
        uint256 had = token.balanceOf(address(judge));
        _refuse(abi.encodeWithSelector(IVerifierPool.WrongTokenBalance.selector, had + BOND - (BOND + 99) / 100, had + BOND));
        vm.prank(client);
        judge.dispute(jobId, "x");
        token.setMode(ScriptedToken.Mode.Honest);
        _expect();
        emit Disputed(jobId, client, provider, agent, BOND, "x");
        vm.prank(agent);
        judge.dispute(jobId, "x");
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.WrongPhase.selector, jobId, IDisputeEvaluator.Phase.Disputed));
        judge.finalize(jobId);
    }

    function test_disputeByAuthorization() public {
        uint256 jobId = submitted(panelTerms());
        bytes32 typehash = keccak256("Dispute(uint256 jobId,address party,bytes32 evidence)");
        bytes memory authorization =
            bondAuthorization(CLIENT_KEY, BOND, judgeDigest(abi.encode(typehash, jobId, client, bytes32("x"))));
        _refuse(abi.encodeWithSelector(ScriptedToken.BadAuthorization.selector));
        judge.disputeWithAuthorization(jobId, client, "other evidence", authorization);
        vm.prank(stranger);
        judge.disputeWithAuthorization(jobId, client, "x", authorization);
        _phase(jobId, IDisputeEvaluator.Phase.Disputed);
        vm.assertEq(judge.roundOf(jobId, 1).payer, client, "payer");
        checkJudgeBooks();
    }

    // ------------------------------------------------------------------ draw

    function test_drawRefuses() public {
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.NothingToDraw.selector));
        judge.draw();
        uint256 jobId = disputed(panelTerms());
        uint256 seedBlock = judge.roundOf(jobId, 1).seedBlock;
        vm.assertEq(seedBlock, block.number + 2, "a block that is still to come");
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.SeedNotKnown.selector, seedBlock, block.number));
        judge.draw();
        vm.roll(seedBlock);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.SeedNotKnown.selector, seedBlock, seedBlock));
        judge.draw();
    }

    /// @notice While a seed may be known, no stake moves: nobody can bond or leave until the panel suits it.
    function test_stakesStandStillBeforeADraw() public {
        uint256 old = drawn();
        voteAll(old, three(1, 2, 3));
        uint256 jobId = disputed(panelTerms());
        bytes memory pending = abi.encodeWithSelector(IVerifierPool.DrawPending.selector, jobId);
        _refuse(pending);
        vm.prank(verifier(0));
        judge.bond(1);
        _refuse(pending);
        vm.prank(verifier(0));
        judge.unbond(1);
        _refuse(pending);
        judge.releaseSeats(old, 1);
        drawNext();
        judge.releaseSeats(old, 1);
        vm.prank(verifier(0));
        judge.unbond(1);
    }

    function testFuzz_panelsAreOfDifferentStrangers(uint256 blocks) public {
        vm.roll(bound(blocks, 1, 1e9));
        _allowParty(client);
        _allowParty(provider);
        _allowParty(agent);
        uint256 jobId = drawn();
        IDisputeEvaluator.Seat[] memory panel = judge.panelOf(jobId, 1);
        vm.assertEq(panel.length, 3, "seats");
        for (uint256 i = 0; i < 3; i++) {
            vm.assertTrue(keyOf(panel[i].verifier) != STRANGER_KEY, "a verifier, and no party");
            vm.assertEq(judge.verifiers(panel[i].verifier).locked, SEAT, "locked");
            for (uint256 j = 0; j < i; j++) {
                vm.assertTrue(panel[i].verifier != panel[j].verifier, "different");
            }
        }
    }

    /// @dev So the parties have most of the stake, and still no seat.
    function _allowParty(address account) private {
        vm.prank(account);
        judge.bond(SEAT * 1_000);
    }

    function test_drawFollowsStake() public {
        // One verifier with as many lots as all others together sits on most of the panels.
        vm.prank(verifier(0));
        judge.bond(SEAT * 200);
        uint256 seated;
        IDisputeEvaluator.Terms memory t = panelTerms();
        (t.panelSize, t.quorum) = (1, 1);
        for (uint256 i = 0; i < 20; i++) {
            uint256 snapshot = vm.snapshotState();
            vm.roll(1_000 + i * 7);
            uint256 jobId = hire(jobTerms(t));
            vm.prank(provider);
            escrow.submit(jobId, DELIVERABLE, "");
            vm.prank(client);
            judge.dispute(jobId, "x");
            drawNext();
            bool hit = judge.panelOf(jobId, 1)[0].verifier == verifier(0);
            uint256 next = hit ? seated + 1 : seated;
            vm.revertToState(snapshot);
            seated = next;
        }
        // 201 of 230 lots: fewer than 12 of 20 has a chance below one in 10,000.
        vm.assertGe(seated, 12, "by stake");
    }

    function test_staleSeedIsReplaced() public {
        uint256 jobId = disputed(panelTerms());
        vm.roll(block.number + 400);
        judge.draw();
        vm.assertEq(judge.roundOf(jobId, 1).seedBlock, block.number + 2, "another block");
        drawNext();
        vm.assertEq(judge.panelOf(jobId, 1).length, 3, "drawn");
    }

    function test_nobodyDraws() public {
        uint256 jobId = disputed(panelTerms());
        vm.warp(START + 500);
        vm.roll(block.number + 10);
        judge.draw();
        vm.assertEq(judge.panelOf(jobId, 1).length, 0, "too late to vote");
        vm.warp(START + 900 + 300);
        judge.resolve(jobId);
        vm.assertEq(token.balanceOf(provider), WEALTH + BUDGET * 4_000 / 10_000, "the default");
        checkJudgeBooks();
    }

    // ------------------------------------------------------------------ votes

    function test_commitAndRevealRefuse() public {
        uint256 jobId = drawn();
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.NotSeated.selector, stranger, uint256(0)));
        vm.prank(stranger);
        judge.commitVote(jobId, 0, "x");
        address who = judge.panelOf(jobId, 1)[0].verifier;
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.InvalidVote.selector, uint256(0)));
        vm.prank(who);
        judge.commitVote(jobId, 0, 0);
        commit(jobId, 0, 7_000);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.AlreadyCommitted.selector, uint256(0)));
        vm.prank(who);
        judge.commitVote(jobId, 0, "y");
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.TooEarly.selector, jobId, START + 500, START));
        reveal(jobId, 0, 7_000);
        vm.warp(START + 500);
        bytes32 other = commitmentOf(jobId, 1, 7_000);
        address second = judge.panelOf(jobId, 1)[1].verifier;
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.TooLate.selector, jobId, START + 500, START + 500));
        vm.prank(second);
        judge.commitVote(jobId, 1, other);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.InvalidVote.selector, uint256(0)));
        reveal(jobId, 0, 7_001);
        reveal(jobId, 0, 7_000);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.AlreadyRevealed.selector, uint256(0)));
        reveal(jobId, 0, 7_000);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.RoundGoesOn.selector, jobId, 1));
        judge.resolve(jobId);
        vm.warp(START + 900);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.TooLate.selector, jobId, START + 900, START + 900));
        judge.revealVote(jobId, 1, 1, REASON, 0);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.TooEarly.selector, jobId, START + 1_200, START + 900));
        judge.resolve(jobId);
    }

    function test_commitBySig() public {
        uint256 jobId = drawn();
        bytes32 commitment = commitmentOf(jobId, 2, 5_000);
        bytes32 typehash =
            keccak256("VoteCommitment(uint256 jobId,uint256 round,uint256 seat,bytes32 commitment,uint256 deadline)");
        bytes32 digest = judgeDigest(abi.encode(typehash, jobId, 1, 2, commitment, FOREVER));
        address who = judge.panelOf(jobId, 1)[2].verifier;
        bytes memory s = signature(STRANGER_KEY, digest);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.InvalidSignature.selector, who));
        judge.commitVoteBySig(jobId, 2, commitment, FOREVER, s);
        judge.commitVoteBySig(jobId, 2, commitment, FOREVER, signature(keyOf(who), digest));
        vm.assertEq(judge.panelOf(jobId, 1)[2].commitment, commitment, "committed");
    }

    /// @notice One verifier that lies moves the ruling no further than the honest ones differ.
    function testFuzz_oneLiarOfThree(uint16 a, uint16 b, uint16 lie) public {
        (a, b, lie) = (uint16(bound(a, 0, 10_000)), uint16(bound(b, 0, 10_000)), uint16(bound(lie, 0, 10_000)));
        uint256 jobId = drawn();
        voteAll(jobId, three(a, lie, b));
        uint16 ruling = judge.roundOf(jobId, 1).resultBps;
        (uint16 low, uint16 high) = a < b ? (a, b) : (b, a);
        vm.assertTrue(ruling >= low && ruling <= high, "between the honest ones");
        vm.warp(START + 300);
        uint256 part = BUDGET * ruling / 10_000;
        bytes32 reasoning = judge.roundOf(jobId, 1).reasoning;
        _expect();
        emit Ruled(jobId, client, provider, ruling, part, BUDGET - part, reasoning);
        vm.prank(stranger);
        judge.resolve(jobId);
        vm.assertEq(token.balanceOf(provider), WEALTH + part, "provider");
        vm.assertEq(token.balanceOf(client), WEALTH - part - BOND, "client");
        uint256 rest = BOND - BOND / 2;
        vm.assertEq(judge.owed(provider), rest * ruling / 10_000, "the bond follows the ruling");
        judge.releaseSeats(jobId, 1);
        vm.assertEq(judge.verifiers(judge.panelOf(jobId, 1)[1].verifier).locked, 0, "the liar's seat is free again");
        vm.assertEq(judge.owed(judge.panelOf(jobId, 1)[1].verifier), BOND / 2 / 3, "only absence is punished");
        checkJudgeBooks();
    }

    function test_onlyNonRevealersAreSlashed() public {
        uint256 jobId = drawn();
        commit(jobId, 0, 1_000);
        commit(jobId, 1, 3_000);
        commit(jobId, 2, 9_000);
        reveal(jobId, 0, 1_000);
        reveal(jobId, 1, 3_000);
        vm.warp(START + 900);
        _expect();
        emit RoundClosed(jobId, 1, 2_000, 2, 3, false);
        vm.prank(provider);
        judge.releaseSeats(jobId, 1);
        IDisputeEvaluator.Seat[] memory panel = judge.panelOf(jobId, 1);
        uint256 share = (uint256(BOND / 2) + SEAT) / 2;
        vm.assertEq(judge.owed(panel[0].verifier), share, "fee and slashed bond");
        vm.assertEq(judge.owed(panel[1].verifier), share, "in equal parts");
        vm.assertEq(judge.owed(panel[2].verifier), 0, "nothing");
        vm.assertEq(judge.verifiers(panel[2].verifier).locked, 0, "lost");
        checkJudgeBooks();
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.AlreadyReleased.selector, jobId, 1));
        judge.releaseSeats(jobId, 1);
        uint256 had = token.balanceOf(panel[0].verifier);
        vm.prank(stranger);
        judge.withdraw(panel[0].verifier);
        vm.assertEq(token.balanceOf(panel[0].verifier), had + share, "withdrawn");
    }

    function test_silentPanelGivesTheDefault() public {
        uint256 jobId = drawn();
        commit(jobId, 0, 9_000);
        vm.warp(START + 1_200);
        judge.resolve(jobId);
        vm.assertEq(token.balanceOf(provider), WEALTH + BUDGET * 4_000 / 10_000, "default");
        judge.releaseSeats(jobId, 1);
        uint256 lost = 3 * uint256(SEAT);
        uint256 rest = BOND - BOND / 2;
        vm.assertEq(judge.owed(provider), lost / 2 + rest * 4_000 / 10_000, "provider");
        vm.assertEq(judge.owed(client), lost - lost / 2 + BOND / 2 + rest - rest * 4_000 / 10_000, "client");
        checkJudgeBooks();
    }

    // ------------------------------------------------------------------ escalation

    function test_escalateRefuses() public {
        uint256 jobId = drawn();
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.RoundGoesOn.selector, jobId, 1));
        vm.prank(client);
        judge.escalate(jobId);
        voteAll(jobId, three(2_000, 2_000, 2_000));
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.NotParty.selector, stranger));
        vm.prank(stranger);
        judge.escalate(jobId);
        vm.warp(START + 300);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.TooLate.selector, jobId, START + 300, START + 300));
        vm.prank(provider);
        judge.escalate(jobId);
    }

    function _escalated(uint16 result) private returns (uint256 jobId) {
        jobId = drawn();
        voteAll(jobId, three(2_000, 2_000, 2_000));
        _expect();
        emit Escalated(jobId, provider, BOND * 2);
        vm.prank(provider);
        judge.escalate(jobId);
        drawNext();
        IDisputeEvaluator.Seat[] memory panel = judge.panelOf(jobId, 2);
        vm.assertEq(panel.length, 7, "a larger panel");
        for (uint256 i = 0; i < 7; i++) {
            for (uint256 j = 0; j < 3; j++) {
                vm.assertTrue(panel[i].verifier != judge.panelOf(jobId, 1)[j].verifier, "of others");
            }
        }
        uint16[] memory votes = new uint16[](7);
        for (uint256 i = 0; i < 7; i++) {
            votes[i] = result;
        }
        voteAll(jobId, votes);
    }

    function test_escalationOnce() public {
        uint256 jobId = _escalated(8_000);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.NoEscalation.selector, jobId, uint256(2)));
        vm.prank(client);
        judge.escalate(jobId);
        uint256 had = token.balanceOf(provider);
        judge.resolve(jobId);
        vm.assertEq(token.balanceOf(provider), had + BUDGET * 8_000 / 10_000, "the second panel rules");
        uint256 rest = BOND - BOND / 2;
        vm.assertEq(judge.owed(provider), BOND + BOND % 7 + rest * 8_000 / 10_000, "better for who escalated: its half back");
        judge.releaseSeats(jobId, 1);
        judge.releaseSeats(jobId, 2);
        checkJudgeBooks();
    }

    function test_escalationInVain() public {
        uint256 jobId = _escalated(2_000);
        judge.resolve(jobId);
        uint256 rest = BOND - BOND / 2;
        vm.assertEq(judge.owed(client), BOND + BOND / 2 % 3 + rest - rest * 2_000 / 10_000, "to the other side");
        checkJudgeBooks();
    }

    function test_silentSecondPanelLeavesTheFirstRuling() public {
        uint256 jobId = drawn();
        voteAll(jobId, three(2_000, 2_000, 2_000));
        bytes32 typehash = keccak256("Escalation(uint256 jobId,address party)");
        bytes memory authorization =
            bondAuthorization(AGENT_KEY, BOND * 2, judgeDigest(abi.encode(typehash, jobId, agent)));
        vm.prank(stranger);
        judge.escalateWithAuthorization(jobId, agent, authorization);
        vm.warp(START + 900);
        judge.resolve(jobId);
        vm.assertEq(token.balanceOf(provider), WEALTH + BUDGET * 2_000 / 10_000, "as before");
        checkJudgeBooks();
    }

    // ------------------------------------------------------------------ arbitrator

    function test_arbitratorRules() public {
        uint256 jobId = disputed(arbitratorTerms());
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.NotArbitrator.selector, stranger, arbitrator));
        vm.prank(stranger);
        judge.rule(jobId, 1, REASON);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.InvalidVote.selector, uint256(0)));
        vm.prank(arbitrator);
        judge.rule(jobId, 10_001, REASON);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.NoEscalation.selector, jobId, uint256(1)));
        vm.prank(client);
        judge.escalate(jobId);
        bytes32 typehash = keccak256("Ruling(uint256 jobId,uint16 providerBps,bytes32 reason,uint256 deadline)");
        bytes32 digest = judgeDigest(abi.encode(typehash, jobId, 2_500, REASON, FOREVER));
        _expect();
        emit Ruled(jobId, client, provider, 2_500, BUDGET / 4, BUDGET - BUDGET / 4, REASON);
        judge.ruleBySig(jobId, 2_500, REASON, FOREVER, signature(ARBITRATOR_KEY, digest));
        vm.assertEq(judge.owed(arbitrator), BOND / 2, "its fee");
        checkJudgeBooks();
    }

    function test_silentArbitratorGivesTheDefault() public {
        uint256 jobId = disputed(arbitratorTerms());
        vm.warp(START + 900);
        _refuse(abi.encodeWithSelector(IDisputeEvaluator.TooLate.selector, jobId, START + 900, START + 900));
        vm.prank(arbitrator);
        judge.rule(jobId, 1, REASON);
        vm.warp(START + 1_200);
        judge.resolve(jobId);
        vm.assertEq(token.balanceOf(provider), WEALTH + BUDGET * 4_000 / 10_000, "default");
        checkJudgeBooks();
    }

    /// @notice Whoever cannot be paid its bond or fee holds up no ruling.
    function test_rulingsDoNotWaitForBonds() public {
        uint256 jobId = drawn();
        voteAll(jobId, three(10_000, 10_000, 10_000));
        vm.warp(START + 300);
        token.setBlacklisted(client);
        judge.resolve(jobId);
        vm.assertEq(token.balanceOf(provider), WEALTH + BUDGET, "paid");
        token.setBlacklisted(judge.panelOf(jobId, 1)[0].verifier);
        judge.releaseSeats(jobId, 1);
        checkJudgeBooks();
    }

    /// @notice When nobody resolves in time the client is refunded; the bonds are still given back.
    function test_expiredDisputeReleasesItsBonds() public {
        uint256 jobId = drawn();
        voteAll(jobId, three(10_000, 10_000, 10_000));
        vm.warp(EXPIRY);
        escrow.claimRefund(jobId);
        judge.resolve(jobId);
        judge.releaseSeats(jobId, 1);
        _phase(jobId, IDisputeEvaluator.Phase.Closed);
        vm.assertEq(uint256(statusOf(jobId)), uint256(IERC8183.JobStatus.Expired), "expired");
        checkJudgeBooks();
    }
}
