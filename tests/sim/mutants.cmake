# Tests that the simulation detects missing safeguards. Each mutant is the simulation without one safeguard
# (server/core/safeguard.h), and its test passes only if the simulation fails.

# redlock_mutant(SAFEGUARD FILE TESTS): compiles FILE without the safeguard, in place of the library's object;
# at least one of TESTS (a GoogleTest filter) must fail.
function(redlock_mutant safeguard file tests)
  set(name mutant_${safeguard})
  add_executable(${name} ${PROJECT_SOURCE_DIR}/${file} $<TARGET_OBJECTS:sim_test_objects>)
  target_compile_definitions(${name} PRIVATE REDLOCK_WITHOUT=${safeguard})
  target_link_libraries(${name} PRIVATE
    redlock_sim redlock_core redlock_client_core GTest::gtest GTest::gtest_main Threads::Threads)
  add_test(NAME ${name} COMMAND ${name} --gtest_filter=${tests})
  set_tests_properties(${name} PROPERTIES
    PASS_REGULAR_EXPRESSION "[0-9]+ FAILED TEST" TIMEOUT 600
    ENVIRONMENT "REDLOCK_SIM_SCHEDULES=20000;REDLOCK_SIM_FIRST=1")
endfunction()

# Random schedules alone detect these.
set(schedules Simulation.SchedulesKeepTheInvariants)
set(client_schedules ClientSimulation.SchedulesKeepTheInvariants)
redlock_mutant(kDrift server/core/rounds/attempt.cc ${schedules})
redlock_mutant(kValidityAtDecision server/core/rounds/attempt.cc ${schedules})
redlock_mutant(kRepairsDoNotVote server/core/rounds/extension.cc ${schedules})
redlock_mutant(kFencesAgree server/core/rounds/extension.cc ${schedules})
redlock_mutant(kAdoptedFencesAgree server/core/rounds/attempt.cc ${schedules})
redlock_mutant(kFenceComparedByGrant tests/sim/server.cc ${schedules})
redlock_mutant(kFenceComparedByHandOver tests/sim/server.cc ${schedules})
redlock_mutant(kQuarantine server/core/nodes/node_guard.cc ${schedules})
redlock_mutant(kMarkComparedByGrant server/core/nodes/guarded_node.cc ${schedules})
redlock_mutant(kMarkNamesTheRun server/core/nodes/node_guard.cc ${schedules})
redlock_mutant(kGrantByWrongClock server/core/nodes/node_guard.cc ${schedules})
redlock_mutant(kLossExpires server/core/leases/lease_set.cc ${client_schedules})
redlock_mutant(kBrokenStreamExpires server/core/leases/lease_set.cc ${client_schedules})
redlock_mutant(kSilenceFromReading tests/sim/session_host.cc ${client_schedules})
redlock_mutant(kEndComparesTheStream tests/sim/server.cc ${client_schedules})

# A TTL masks these in the end, or only rare schedules show them, so directed tests detect them.
redlock_mutant(kRaiseAboveAll server/core/rounds/extension.cc "FencingAfterALoss.*")
redlock_mutant(kRepairRaisesTheFence tests/sim/server.cc "FencingAfterALoss.*:Simulation.Sched*")
redlock_mutant(kSecondLoss server/core/nodes/node_guard.cc "Guard.*")
redlock_mutant(kOldDataDoesNotExtend server/core/nodes/guarded_node.cc "Guard.*")
redlock_mutant(kNewSetNeedsQuorum server/core/nodes/node_guard.cc "Guard.*")
redlock_mutant(kNewSetCountsReachable server/core/nodes/node_guard.cc "Guard.*")
redlock_mutant(kUptimeOfUnknownRun server/core/nodes/node_guard.cc "Guard.*")
redlock_mutant(kRollBack server/core/rounds/attempt.cc "Acquisition.*")
redlock_mutant(kRollBackLateGrant server/core/rounds/attempt.cc "Acquisition.*")
redlock_mutant(kNoRepairDuringRelease server/core/rounds/extension.cc "Releasing.*")
redlock_mutant(kHandOverFreesTheRest server/core/rounds/hand_over.cc "Waiting.*")
redlock_mutant(kLossInTime server/core/leases/watchdog.cc "Watching.*")
redlock_mutant(kSeal server/core/rounds/release.cc "Releasing.*")
redlock_mutant(kRepeatWithHigherSeal server/core/rounds/release.cc "ReleasingBySkewedDaemons.*")
redlock_mutant(kSealOnlyWhatIsHeld tests/sim/server.cc "Releasing.*")
redlock_mutant(kDenialOfAllNodes server/core/rounds/release.cc "Releasing.*")
redlock_mutant(kRepairNamesTheStream server/core/rounds/extension.cc "Streams.*")
redlock_mutant(kAdoptionsInOrder tests/sim/server.cc "Streams.*")
redlock_mutant(kFoundHeldExpires server/core/leases/lease_set.cc "Streams.*")
