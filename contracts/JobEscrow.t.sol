// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import {IERC8183} from "./interfaces/IERC8183.sol";
import {IJobEscrow} from "./interfaces/IJobEscrow.sol";
import {IJobOutcomes} from "./interfaces/IJobOutcomes.sol";
import {IMandateRegistry} from "./interfaces/IMandateRegistry.sol";
import {JobDigests} from "./test-support/JobDigests.sol";
import {JobWorld} from "./test-support/JobWorld.sol";
import {MandateDigests} from "./test-support/MandateDigests.sol";
import {ScriptedToken} from "./test-support/Tokens.sol";
import {ScriptedWallet} from "./test-support/Wallets.sol";

/// @notice The verbs of JobEscrow one by one: refusals first, with their arguments, then what is written, paid and said.
/// Who may do what when is in the matrix.
contract JobEscrowTest is JobWorld {
    event JobCreated(
        uint256 indexed jobId, address indexed client, address indexed provider, address evaluator, uint256 expiredAt
    );
    event ProviderSet(uint256 indexed jobId, address indexed provider);
    event BudgetSet(uint256 indexed jobId, uint256 amount);
    event JobFunded(uint256 indexed jobId, address indexed client, uint256 amount);
    event JobSubmitted(uint256 indexed jobId, address indexed provider, bytes32 deliverable);
    event JobCompleted(uint256 indexed jobId, address indexed evaluator, bytes32 reason);
    event JobRejected(uint256 indexed jobId, address indexed rejector, bytes32 reason);
    event JobExpired(uint256 indexed jobId);
    event PaymentReleased(uint256 indexed jobId, address indexed provider, uint256 amount);
    event Refunded(uint256 indexed jobId, address indexed client, uint256 amount);
    event JobDescribed(uint256 indexed jobId, address indexed hook, string description);
    event JobHiredByMandate(uint256 indexed jobId, bytes32 indexed mandateId, address indexed agent);
    event JobSplit(
        uint256 indexed jobId,
        address indexed client,
        address indexed provider,
        uint16 providerBps,
        uint256 providerAmount,
        uint256 clientAmount
    );
    event FeePaid(uint256 indexed jobId, address indexed treasury, uint256 amount);

    function setUp() public {
        buildJobs();
    }

    function _expect() private {
        vm.expectEmit(true, true, true, true, address(escrow));
    }

    function _refuse(bytes memory reason) private {
        vm.expectRevert(reason);
    }

    // ------------------------------------------------------------------ open

    function test_createRefuses() public {
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidEvaluator.selector, address(0)));
        escrow.createJob(provider, address(0), EXPIRY, "", address(0));
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidProvider.selector, evaluator));
        escrow.createJob(evaluator, evaluator, EXPIRY, "", address(0));
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidProvider.selector, address(escrow)));
        escrow.createJob(address(escrow), evaluator, EXPIRY, "", address(0));
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidExpiry.selector, START, START));
        escrow.createJob(provider, evaluator, START, "", address(0));
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidExpiry.selector, uint256(1 << 40), START));
        escrow.createJob(provider, evaluator, 1 << 40, "", address(0));
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidHook.selector, stranger));
        escrow.createJob(provider, evaluator, EXPIRY, "", stranger);
    }

    function test_createSaysAndStoresEverything() public {
        string memory brief = "a brief that is longer than one word of storage, as briefs are";
        _expect();
        emit JobCreated(1, client, provider, client, EXPIRY);
        _expect();
        emit JobDescribed(1, address(hook), brief);
        vm.prank(client);
        uint256 jobId = escrow.createJob(provider, client, EXPIRY, brief, address(hook));
        vm.assertEq(jobId, 1, "id");
        vm.assertEq(escrow.jobCount(), 1, "count");
        IJobEscrow.Job memory job = escrow.getJob(1);
        bytes memory expected = abi.encode(
            IJobEscrow.Job(client, provider, client, brief, 0, EXPIRY, IERC8183.JobStatus.Open, address(hook))
        );
        vm.assertEq(abi.encode(job), expected, "job");
        vm.assertEq(hook.count(), 0, "createJob is not hookable");
    }

    function test_unknownJobs() public {
        bytes memory unknown = abi.encodeWithSelector(IJobEscrow.UnknownJob.selector, uint256(1));
        bytes[8] memory calls = [
            abi.encodeCall(escrow.setProvider, (1, provider, "")),
            abi.encodeCall(escrow.setBudget, (1, 1, "")),
            abi.encodeCall(escrow.fund, (1, 1, "")),
            abi.encodeCall(escrow.submit, (1, DELIVERABLE, "")),
            abi.encodeCall(escrow.complete, (1, REASON, "")),
            abi.encodeCall(escrow.reject, (1, REASON, "")),
            abi.encodeCall(escrow.claimRefund, (1)),
            abi.encodeCall(escrow.getJob, (1))
        ];
        for (uint256 i = 0; i < 8; i++) {
            (bool ok, bytes memory why) = address(escrow).call(calls[i]);
            vm.assertTrue(!ok, "refused");
            vm.assertEq(why, unknown, "why");
        }
    }

    function test_setProvider() public {
        vm.prank(client);
        uint256 jobId = escrow.createJob(address(0), evaluator, EXPIRY, "", address(0));
        _refuse(abi.encodeWithSelector(IJobEscrow.NotClient.selector, stranger, client));
        vm.prank(stranger);
        escrow.setProvider(jobId, provider, "");
        vm.startPrank(client);
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidProvider.selector, address(0)));
        escrow.setProvider(jobId, address(0), "");
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidProvider.selector, evaluator));
        escrow.setProvider(jobId, evaluator, "");
        _expect();
        emit ProviderSet(jobId, provider);
        escrow.setProvider(jobId, provider, "");
        _refuse(abi.encodeWithSelector(IJobEscrow.ProviderAlreadySet.selector, jobId, provider));
        escrow.setProvider(jobId, stranger, "");
        vm.stopPrank();
    }

    function testFuzz_setBudgetAndFund(uint256 amount) public {
        uint256 jobId = openJob();
        _refuse(abi.encodeWithSelector(IJobEscrow.BudgetTooLarge.selector, uint256(1 << 96)));
        vm.prank(provider);
        escrow.setBudget(jobId, 1 << 96, "");
        amount = bound(amount, 1, WEALTH);
        _expect();
        emit BudgetSet(jobId, amount);
        vm.prank(provider);
        escrow.setBudget(jobId, amount, "");
        _refuse(abi.encodeWithSelector(IJobEscrow.BudgetMismatch.selector, jobId, amount - 1, amount));
        vm.prank(client);
        escrow.fund(jobId, amount - 1, "");
        _expect();
        emit JobFunded(jobId, client, amount);
        vm.prank(client);
        escrow.fund(jobId, amount, "");
        vm.assertEq(held(), amount, "held");
    }

    function test_fundRefuses() public {
        uint256 jobId = openJob();
        _refuse(abi.encodeWithSelector(IJobEscrow.ZeroBudget.selector, jobId));
        vm.prank(client);
        escrow.fund(jobId, 0, "");
        jobId = jobIn(IERC8183.JobStatus.Open);
        vm.warp(EXPIRY);
        _refuse(abi.encodeWithSelector(IJobEscrow.JobHasExpired.selector, jobId, EXPIRY, EXPIRY));
        vm.prank(client);
        escrow.fund(jobId, BUDGET, "");
    }

    // ------------------------------------------------------------------ hire

    function test_hireIsTheThreeCalls() public {
        IJobEscrow.HireTerms memory t = hookedTerms();
        _expect();
        emit JobCreated(1, client, provider, evaluator, EXPIRY);
        _expect();
        emit JobDescribed(1, address(hook), t.description);
        _expect();
        emit BudgetSet(1, BUDGET);
        _expect();
        emit JobFunded(1, client, BUDGET);
        uint256 jobId = hire(t);
        uint256 other = jobIn(IERC8183.JobStatus.Open, t);
        vm.prank(client);
        escrow.fund(other, BUDGET, t.optParams);
        bytes memory one = abi.encode(escrow.getJob(jobId));
        vm.assertEq(one, abi.encode(escrow.getJob(other)), "the same job");
        vm.assertEq(hook.count(), 8, "the same callbacks");
        for (uint256 i = 0; i < 4; i++) {
            (bytes memory a, bytes memory b) = (hook.seen(i).data, hook.seen(i + 4).data);
            vm.assertEq(a, b, "the same data");
            vm.assertEq(bytes32(hook.seen(i).selector), bytes32(hook.seen(i + 4).selector), "the same verb");
            vm.assertEq(hook.seen(i).after_, hook.seen(i + 4).after_, "the same order");
        }
    }

    function test_hireRefuses() public {
        IJobEscrow.HireTerms memory t = terms();
        t.provider = address(0);
        _refuse(abi.encodeWithSelector(IJobEscrow.ProviderNotSet.selector, 1));
        hire(t);
        t = terms();
        t.budget = 0;
        _refuse(abi.encodeWithSelector(IJobEscrow.ZeroBudget.selector, 1));
        hire(t);
        t.budget = 1 << 96;
        _refuse(abi.encodeWithSelector(IJobEscrow.BudgetTooLarge.selector, uint256(1 << 96)));
        hire(t);
        t.budget = WEALTH + 1;
        vm.expectRevert();
        hire(t);
        vm.assertEq(escrow.jobCount(), 0, "no job");
    }

    function test_hireByAuthorizationBindsTheJob() public {
        IJobEscrow.HireTerms memory t = terms();
        bytes memory authorization = authorizationOf(CLIENT_KEY, client, t, "salt");
        IJobEscrow.HireTerms memory other = terms();
        other.provider = stranger;
        _refuse(abi.encodeWithSelector(ScriptedToken.BadAuthorization.selector));
        vm.prank(stranger);
        escrow.hireWithAuthorization(client, other, authorization);
        other = terms();
        other.expiredAt += 1;
        _refuse(abi.encodeWithSelector(ScriptedToken.BadAuthorization.selector));
        escrow.hireWithAuthorization(client, other, authorization);
        _refuse(abi.encodeWithSelector(ScriptedToken.BadAuthorization.selector));
        escrow.hireWithAuthorization(stranger, t, authorization);

        _expect();
        emit JobFunded(1, client, BUDGET);
        vm.prank(stranger);
        uint256 jobId = escrow.hireWithAuthorization(client, t, authorization);
        vm.assertEq(escrow.getJob(jobId).client, client, "client");
        vm.assertEq(held(), BUDGET, "held");
        _refuse(abi.encodeWithSelector(ScriptedToken.AuthorizationUsed.selector));
        vm.prank(stranger);
        escrow.hireWithAuthorization(client, t, authorization);
    }

    // ------------------------------------------------------------------ hire by mandate

    function _agentMandate() private view returns (IMandateRegistry.Mandate memory m) {
        (m.principal, m.delegate, m.token) = (client, vm.addr(AGENT_KEY), address(token));
        (m.limit, m.paymentLimit, m.validUntil) = (uint128(BUDGET * 2), uint128(BUDGET * 2), type(uint40).max);
    }

    /// @dev The order that hires under the agent's mandate, both signatures in it.
    function _order(IJobEscrow.HireTerms memory t, uint128 limit, address delegate)
        private
        view
        returns (IMandateRegistry.Spend memory order)
    {
        IMandateRegistry.Mandate memory parent = _agentMandate();
        IMandateRegistry.Mandate memory m = _agentMandate();
        (m.delegate, m.limit, m.paymentLimit) = (delegate, limit, limit);
        (m.parent, m.terms) = (MandateDigests.mandateId(address(registry), parent), JobDigests.hire(address(escrow), client, t));
        order.lineage = new IMandateRegistry.Mandate[](2);
        (order.lineage[0], order.lineage[1]) = (m, parent);
        order.approvals = new bytes[](2);
        order.approvals[0] = signature(AGENT_KEY, MandateDigests.mandateId(address(registry), m));
        order.approvals[1] = signature(CLIENT_KEY, MandateDigests.mandateId(address(registry), parent));
        (order.payee, order.amount) = (address(escrow), uint128(t.budget));
    }

    function test_hireByMandate() public {
        IJobEscrow.HireTerms memory t = terms();
        IMandateRegistry.Spend memory order = _order(t, uint128(BUDGET), address(escrow));
        bytes32 id = MandateDigests.mandateId(address(registry), order.lineage[0]);
        _expect();
        emit JobHiredByMandate(1, id, vm.addr(AGENT_KEY));
        vm.prank(stranger);
        escrow.hireByMandate(t, abi.encode(order));
        vm.assertEq(escrow.getJob(1).client, client, "the principal is the client");
        vm.assertEq(held(), BUDGET, "held");
        vm.assertEq(registry.remaining(order.lineage), 0, "good for one job");
        // The second time the mandate is spent, whoever tries.
        _refuse(abi.encodeWithSelector(IMandateRegistry.LimitExceeded.selector, id, BUDGET * 2, BUDGET));
        escrow.hireByMandate(t, abi.encode(order));
    }

    function test_hireByMandateBindsTheJob() public {
        IJobEscrow.HireTerms memory t = terms();
        bytes memory order = abi.encode(_order(t, uint128(BUDGET), address(escrow)));
        t.provider = stranger;
        bytes32 digest = JobDigests.hire(address(escrow), client, t);
        _refuse(abi.encodeWithSelector(IJobEscrow.WrongMandate.selector, digest));
        vm.prank(stranger);
        escrow.hireByMandate(t, order);
        // A mandate that would be good for two jobs, and one that somebody else could spend.
        t = terms();
        digest = JobDigests.hire(address(escrow), client, t);
        order = abi.encode(_order(t, uint128(BUDGET * 2), address(escrow)));
        _refuse(abi.encodeWithSelector(IJobEscrow.WrongMandate.selector, digest));
        escrow.hireByMandate(t, order);
        order = abi.encode(_order(t, uint128(BUDGET), vm.addr(AGENT_KEY)));
        _refuse(abi.encodeWithSelector(IJobEscrow.WrongMandate.selector, digest));
        escrow.hireByMandate(t, order);
    }

    /// @notice Nobody but the escrow can spend the job's mandate: there is no way past the escrow that loses the tokens.
    function test_mandateCannotBeSpentPastTheEscrow() public {
        IMandateRegistry.Spend memory order = _order(terms(), uint128(BUDGET), address(escrow));
        address[3] memory senders = [stranger, client, vm.addr(AGENT_KEY)];
        for (uint256 i = 0; i < 3; i++) {
            _refuse(abi.encodeWithSelector(IMandateRegistry.NotDelegate.selector, senders[i], address(escrow)));
            vm.prank(senders[i]);
            registry.spend(order);
        }
    }

    function test_hireByMandateNeedsBothSignatures() public {
        IJobEscrow.HireTerms memory t = terms();
        IMandateRegistry.Spend memory order = _order(t, uint128(BUDGET), address(escrow));
        order.approvals[0] = order.approvals[1];
        _refuse(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, vm.addr(AGENT_KEY)));
        escrow.hireByMandate(t, abi.encode(order));
        order.lineage = new IMandateRegistry.Mandate[](0);
        _refuse(abi.encodeWithSelector(IJobEscrow.WrongMandate.selector, bytes32(0)));
        escrow.hireByMandate(t, abi.encode(order));
    }

    // ------------------------------------------------------------------ submit, complete, reject, refund

    function test_lifeOfAJob() public {
        uint256 jobId = hire(terms());
        _expect();
        emit JobSubmitted(jobId, provider, DELIVERABLE);
        vm.prank(provider);
        escrow.submit(jobId, DELIVERABLE, "");
        _expect();
        emit JobCompleted(jobId, evaluator, REASON);
        _expect();
        emit PaymentReleased(jobId, provider, BUDGET);
        vm.prank(evaluator);
        escrow.complete(jobId, REASON, "");
        vm.assertEq(token.balanceOf(provider), BUDGET, "paid");

        jobId = hire(terms());
        _expect();
        emit JobRejected(jobId, evaluator, REASON);
        _expect();
        emit Refunded(jobId, client, BUDGET);
        vm.prank(evaluator);
        escrow.reject(jobId, REASON, "");

        jobId = openJob();
        _expect();
        emit JobRejected(jobId, client, REASON);
        vm.prank(client);
        escrow.reject(jobId, REASON, "");

        jobId = hire(terms());
        vm.warp(EXPIRY);
        _expect();
        emit JobExpired(jobId);
        _expect();
        emit Refunded(jobId, client, BUDGET);
        vm.prank(stranger);
        escrow.claimRefund(jobId);
        vm.assertEq(held(), 0, "held");
        vm.assertEq(token.balanceOf(client), WEALTH - BUDGET, "client");
    }

    function testFuzz_split(uint16 bps, uint256 budget, uint16 feeBps) public {
        feeBps = uint16(bound(feeBps, 1, 10_000));
        buildJobs(feeBps, stranger);
        IJobEscrow.HireTerms memory t = terms();
        t.budget = bound(budget, 1, WEALTH);
        uint256 jobId = jobIn(IERC8183.JobStatus.Submitted, t);
        vm.startPrank(evaluator);
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidSplit.selector, uint256(0)));
        escrow.completeSplit(jobId, 0, REASON, "");
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidSplit.selector, uint256(10_001)));
        escrow.completeSplit(jobId, 10_001, REASON, "");
        bps = uint16(bound(bps, 1, 9_999));
        uint256 part = t.budget * bps / 10_000;
        uint256 fee = part * feeBps / 10_000;
        _expect();
        emit PaymentReleased(jobId, provider, part - fee);
        if (fee != 0) {
            _expect();
            emit FeePaid(jobId, stranger, fee);
        }
        _expect();
        emit JobSplit(jobId, client, provider, bps, part, t.budget - part);
        _expect();
        emit Refunded(jobId, client, t.budget - part);
        escrow.completeSplit(jobId, bps, REASON, "");
        vm.stopPrank();
        vm.assertEq(token.balanceOf(provider), part - fee, "provider");
        vm.assertEq(token.balanceOf(stranger), fee, "treasury");
        vm.assertEq(token.balanceOf(client), WEALTH - part, "client");
        vm.assertEq(held(), 0, "held");
        _requireOutcome(jobId, part - fee, true);
    }

    function test_outcomes() public {
        IJobOutcomes outcomes = IJobOutcomes(address(escrow));
        _refuse(abi.encodeWithSelector(IJobEscrow.UnknownJob.selector, uint256(1)));
        outcomes.jobOutcome(1);
        _requireOutcome(jobIn(IERC8183.JobStatus.Open), 0, false);
        _requireOutcome(jobIn(IERC8183.JobStatus.Funded), 0, false);
        _requireOutcome(jobIn(IERC8183.JobStatus.Submitted), 0, false);
        _requireOutcome(jobIn(IERC8183.JobStatus.Rejected), 0, true);
        _requireOutcome(jobIn(IERC8183.JobStatus.Expired), 0, true);
        _requireOutcome(jobIn(IERC8183.JobStatus.Completed), BUDGET, true);
    }

    function _requireOutcome(uint256 jobId, uint256 amount, bool over) private view {
        (address from, address to, address in_, uint128 paid, bool terminal) =
            IJobOutcomes(address(escrow)).jobOutcome(jobId);
        vm.assertEq(from, client, "client");
        vm.assertEq(to, provider, "provider");
        vm.assertEq(in_, address(token), "token");
        vm.assertEq(paid, amount, "paid");
        vm.assertTrue(terminal == over, "terminal");
    }

    function test_feeOnlyOnCompletion() public {
        buildJobs(250, stranger);
        jobIn(IERC8183.JobStatus.Rejected);
        jobIn(IERC8183.JobStatus.Expired);
        vm.assertEq(token.balanceOf(client), WEALTH, "refunds carry no fee");
        jobIn(IERC8183.JobStatus.Completed);
        vm.assertEq(token.balanceOf(stranger), BUDGET * 250 / 10_000, "fee");
        vm.assertEq(token.balanceOf(provider), BUDGET - BUDGET * 250 / 10_000, "provider");
    }

    // ------------------------------------------------------------------ signatures

    function test_signaturesBindEverything() public {
        uint256 jobId = hire(terms());
        bytes memory s = signVerb(PROVIDER_KEY, JobDigests.SUBMISSION, jobId, DELIVERABLE, "x", START);
        bytes memory invalid = abi.encodeWithSelector(IJobEscrow.InvalidSignature.selector, provider);
        _refuse(invalid);
        escrow.submitBySig(jobId, "other", "x", START, s);
        _refuse(invalid);
        escrow.submitBySig(jobId, DELIVERABLE, "y", START, s);
        _refuse(invalid);
        escrow.submitBySig(jobId, DELIVERABLE, "x", START + 1, s);
        vm.warp(START + 1);
        _refuse(abi.encodeWithSelector(IJobEscrow.SignatureExpired.selector, START, START + 1));
        escrow.submitBySig(jobId, DELIVERABLE, "x", START, s);
        vm.warp(START);
        _expect();
        emit JobSubmitted(jobId, provider, DELIVERABLE);
        vm.prank(stranger);
        escrow.submitBySig(jobId, DELIVERABLE, "x", START, s);
        _refuse(abi.encodeWithSelector(IJobEscrow.WrongStatus.selector, jobId, IERC8183.JobStatus.Submitted));
        escrow.submitBySig(jobId, DELIVERABLE, "x", START, s);
        // An order to complete is none to reject.
        s = signVerb(EVALUATOR_KEY, JobDigests.COMPLETION, jobId, REASON, "", FOREVER);
        _refuse(abi.encodeWithSelector(IJobEscrow.InvalidSignature.selector, evaluator));
        escrow.rejectBySig(jobId, REASON, "", FOREVER, s);
        escrow.completeBySig(jobId, REASON, "", FOREVER, s);
        vm.assertEq(token.balanceOf(provider), BUDGET, "paid");
    }

    function test_walletsSign() public {
        ScriptedWallet wallet = new ScriptedWallet(provider);
        IJobEscrow.HireTerms memory t = terms();
        t.provider = address(wallet);
        uint256 jobId = hire(t);
        bytes memory s = signVerb(PROVIDER_KEY, JobDigests.SUBMISSION, jobId, DELIVERABLE, "", FOREVER);
        for (uint256 mode = 1; mode < 6; mode++) {
            wallet.setMode(ScriptedWallet.Mode(mode), type(uint256).max);
            _refuse(abi.encodeWithSelector(IJobEscrow.InvalidSignature.selector, address(wallet)));
            escrow.submitBySig{gas: 3_000_000}(jobId, DELIVERABLE, "", FOREVER, s);
        }
        wallet.setMode(ScriptedWallet.Mode.Honest, 0);
        escrow.submitBySig(jobId, DELIVERABLE, "", FOREVER, s);
        vm.assertEq(uint256(statusOf(jobId)), uint256(IERC8183.JobStatus.Submitted), "submitted");
    }

    // ------------------------------------------------------------------ views

    /// @notice Selectors and interface ids as they follow from the ERC's text.
    function test_selectors() public view {
        bytes4[8] memory selectors = [
            bytes4(keccak256("createJob(address,address,uint256,string,address)")),
            bytes4(keccak256("setProvider(uint256,address,bytes)")),
            bytes4(keccak256("setBudget(uint256,uint256,bytes)")),
            bytes4(keccak256("fund(uint256,uint256,bytes)")),
            bytes4(keccak256("submit(uint256,bytes32,bytes)")),
            bytes4(keccak256("complete(uint256,bytes32,bytes)")),
            bytes4(keccak256("reject(uint256,bytes32,bytes)")),
            bytes4(keccak256("claimRefund(uint256)"))
        ];
        bytes4 id;
        for (uint256 i = 0; i < 8; i++) {
            id ^= selectors[i];
        }
        vm.assertTrue(escrow.supportsInterface(id), "IERC8183");
        vm.assertTrue(escrow.supportsInterface(type(IERC165).interfaceId), "IERC165");
        vm.assertTrue(escrow.supportsInterface(type(IJobEscrow).interfaceId), "IJobEscrow");
        vm.assertTrue(escrow.supportsInterface(type(IJobOutcomes).interfaceId), "IJobOutcomes");
        vm.assertTrue(!escrow.supportsInterface(0xffffffff), "not everything");
    }

    function testFuzz_digests(IJobEscrow.HireTerms memory t, address from, uint256 jobId, bytes32 word, bytes memory opt, uint256 d)
        public
        view
    {
        vm.assertEq(escrow.getHireDigest(from, t), JobDigests.hire(address(escrow), from, t), "hire");
        address e = address(escrow);
        vm.assertEq(escrow.getSubmissionDigest(jobId, word, opt, d), JobDigests.verb(e, JobDigests.SUBMISSION, jobId, word, opt, d), "s");
        vm.assertEq(escrow.getCompletionDigest(jobId, word, opt, d), JobDigests.verb(e, JobDigests.COMPLETION, jobId, word, opt, d), "c");
        vm.assertEq(escrow.getRejectionDigest(jobId, word, opt, d), JobDigests.verb(e, JobDigests.REJECTION, jobId, word, opt, d), "r");
    }
}
